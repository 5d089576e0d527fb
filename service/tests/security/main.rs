//! Who may do what, how often, and what the service itself can't do.

#![allow(clippy::unwrap_used)]

mod charges;
mod draining;
mod grants;
mod hidden;
mod holders;
mod many_devices;
mod matrix;
mod own_devices;
mod probing;
mod rates;
mod returned;
mod rights;
mod storage;
mod strangers;
#[path = "../support/mod.rs"]
mod support;
