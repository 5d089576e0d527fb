//! Real processes that are stopped, killed and cut off: what was acknowledged stays, and nothing is handed out twice.

#![allow(clippy::unwrap_used)] // a test says more by failing than an error would

#[path = "../support/mod.rs"]
mod support;

mod crashes;
mod frozen;
mod load;
mod lost_replies;
mod shutdown;
