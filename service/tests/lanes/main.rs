//! Lanes: what waits is gathered, and nobody in a batch suffers for another.

#![allow(clippy::unwrap_used)]

mod contended;
mod crowded;
mod explained;
mod faults;
mod gathered;
mod given_back;
mod left;
mod plans;
#[path = "../support/mod.rs"]
mod support;
mod true_when_given;

use keypool_service::{
    config::Config,
    pool::{Caller, PoolError, ReserveReport, ReserveRequest, Target},
    testing::server::TestServer,
    types::{CipherSuite, DeviceId, GroupId, Holder, ReservationId, UserId},
};
use support::locks::{Hurdle, connect};
use tokio::task::JoinHandle;

/// One lane of each kind, so that a test knows what waits for what.
fn one_lane(config: &mut Config) {
    config.lanes.reserve = 1;
    config.lanes.hold = 1;
    config.lanes.upload = 1;
}

fn request(reservation: &str, users: &[&str]) -> ReserveRequest {
    let holder = Holder::new("inviter").unwrap();
    ReserveRequest {
        caller: Caller {
            holder: holder.clone(),
            principal: holder,
            limited: false,
            is_backend: true,
            whoever_holds: false,
        },
        reservation: ReservationId::new(reservation).unwrap(),
        group: GroupId::new("group").unwrap(),
        targets: users
            .iter()
            .map(|user| Target {
                user: UserId::new(user).unwrap(),
                device: Some(DeviceId::new("phone").unwrap()),
                excluded: Vec::new(),
            })
            .collect(),
        cipher_suites: vec![CipherSuite(1)],
        hold: None,
        min_remaining: None,
        require_all: false,
    }
}

type Reserving = JoinHandle<Result<ReserveReport, PoolError>>;

/// Begins a reserve.
fn begin(server: &TestServer, request: ReserveRequest) -> Reserving {
    let pool = server.server().pool().clone();
    tokio::spawn(async move { pool.reserve(request).await })
}

/// Begins a reserve, and returns once it waits in its lane: tests have a single thread, on which it runs until it waits.
async fn queue(server: &TestServer, request: ReserveRequest) -> Reserving {
    let reserving = begin(server, request);
    tokio::task::yield_now().await;
    reserving
}

/// A server whose lane is busy with a reserve of alice's phone, which takes as long as the test wants. Returns that statement's
/// backend.
async fn busy(server: &TestServer) -> (Hurdle, Reserving, i32) {
    busy_with(server, "alice").await
}

/// The same, with a reserve of this user's phone.
async fn busy_with(server: &TestServer, user: &str) -> (Hurdle, Reserving, i32) {
    let hurdle = Hurdle::start(server).await;
    let first = begin(server, request("first", &[user]));
    let backend = hurdle.somebody_waits(server).await;
    (hurdle, first, backend)
}

/// The number that a query returns.
async fn number(server: &TestServer, query: &str) -> i64 {
    let client = connect(&server.database().config()).await;
    client.query_one(query, &[]).await.unwrap().get(0)
}
