//! A database that forgets what was handed out, and the fence that keeps it from handing it out again.

#![allow(clippy::unwrap_used)]

mod by_hand;
mod failover;
mod quarantine;
mod rebuilt;
mod restored;
#[path = "../support/mod.rs"]
mod support;

use keypool_proto::v1::{ErrorReason, KeyPackageName};
use keypool_service::{
    clock::{Clock, SystemClock},
    store::{Connector, FenceRow, Store},
    testing::server::TestServer,
};
use std::{sync::Arc, time::Duration};
use support::{
    Client,
    calls::{eventually, named, reserve_one},
    locks::connect,
    reason, spend,
};
use tokio_postgres::Config;

fn store(database: Config) -> Store {
    Store::new(Connector::plain(database), Arc::new(SystemClock), 1, Duration::from_secs(30))
        .unwrap()
}

async fn lift(server: &TestServer) {
    store(server.database().config()).lift_fences(SystemClock.now()).await.unwrap();
}

/// The causes of the fences that are up, the newest first.
async fn causes(database: Config) -> Vec<String> {
    let fences = store(database).list_fences().await.unwrap();
    let up = |fence: &FenceRow| fence.lifted_at.is_none();
    fences.into_iter().filter(up).map(|fence| fence.cause).collect()
}

/// Reserves and spends a package of bob's phone, and returns its name.
async fn use_one(client: &mut Client, reservation: &str) -> KeyPackageName {
    let package = reserve_one(client, reservation, "bob", "phone").await.unwrap();
    spend(client, reservation, named(&package)).await.unwrap();
    package.name.unwrap()
}

/// Reserves again and again while the service has lost its database, and returns what came of it at last.
async fn why_not(client: &mut Client, reservation: &str) -> ErrorReason {
    let mut why = None;
    eventually("the service has its database again", async || {
        let error = reserve_one(client, reservation, "bob", "phone").await.unwrap_err();
        why = Some(reason(&error));
        why != Some(ErrorReason::DatabaseUnavailable)
    })
    .await;
    why.unwrap()
}

/// How often services have beaten so far.
async fn beats(database: Config) -> i64 {
    let beats = "SELECT COALESCE(sum(number), 0)::bigint FROM beat";
    connect(&database).await.query_one(beats, &[]).await.unwrap().get(0)
}

/// Waits until the database knows of so many more beats: there is one after each change.
async fn beaten(database: Config, before: i64, more: i64) {
    eventually("the service beats", async || beats(database.clone()).await >= before + more).await;
}
