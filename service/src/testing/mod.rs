//! Support for tests.

pub mod database;
pub mod packages;
pub mod server;
