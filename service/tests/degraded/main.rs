//! A database that is away or slow: callers are told soon, nothing piles up, and all is well when it is back.

#![allow(clippy::unwrap_used)] // a test says more by failing than an error would

#[path = "../support/mod.rs"]
mod support;

mod away;
mod dead_connection;
mod rig;
mod slow;
mod unwritable;
