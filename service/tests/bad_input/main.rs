//! Bad requests: each is refused with INVALID_ARGUMENT and the path of every field that is wrong, and changes nothing.

#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod device_side;
mod inviter_side;
mod table;
mod unchanged;
mod undecodable;
