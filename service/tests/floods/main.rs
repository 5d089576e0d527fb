//! Callers that try to take the service's memory and connections from others, as processes see it: how much memory it takes, what
//! stays of that, and whether honest callers and health checks are answered meanwhile.

#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod attacker;
mod connections;
mod memory;
mod rig;
