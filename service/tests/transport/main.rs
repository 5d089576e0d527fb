//! Connections: TLS for callers and to PostgreSQL, and limits in number, time and size.

#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod authority;
mod credentials;
mod database;
mod limits;
mod long_streams;
mod reload;
mod tls;
