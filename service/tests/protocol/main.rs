//! What is served besides the API itself, and how the service starts and stops.

#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod drain;
mod health;
mod reflection;
mod schema;
mod supervised;
mod web;

use keypool_service::testing::server::TestServer;
use tonic::transport::{Channel, Endpoint};

async fn channel(server: &TestServer) -> Channel {
    Endpoint::from_shared(server.endpoint()).unwrap().connect().await.unwrap()
}
