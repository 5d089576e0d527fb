//! The promises of the service, each with tests that fail if it is broken: one module for each promise.

#![allow(clippy::unwrap_used)] // a test says more by failing than an error would

#[path = "../support/mod.rs"]
mod support;

mod books;
mod durable;
mod elsewhere;
mod exhausted;
mod hostile;
mod lapsed;
mod last_resort;
mod lost_reply;
mod once;
mod skew;
mod stale;
