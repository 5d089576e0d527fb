//! A watch whose replica is stopped or killed, while the pool changes.
#![allow(clippy::unwrap_used)]

#[path = "support/replica.rs"]
mod replica;

use std::time::Duration;

use keypool_client::proto::v1::DevicePoolStatus;
use keypool_client::{Client, PoolWatch};
use keypool_service::testing::database::TestDatabase;
use keypool_service::testing::packages::PackageMaker;
use replica::{Replica, be_one};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn be_a_replica() {
    be_one().await;
}

/// A client that begins with the first of these replicas.
fn client(replicas: &[&Replica]) -> Client {
    let mut builder = Client::builder(&replicas[0].endpoint);
    for replica in &replicas[1..] {
        builder = builder.endpoint(&replica.endpoint);
    }
    builder.connect_lazy().unwrap()
}

async fn upload(client: &Client, count: usize) {
    let packages = PackageMaker::new("bob", "phone").make_many(count);
    client.upload("bob", "phone", packages).await.unwrap();
}

/// Spends a package, which watchers are told of.
async fn spend(client: &Client) {
    let mut reservation = client.reserve(b"group").device("bob", "phone").send().await.unwrap();
    reservation.spend().await.unwrap();
}

async fn status(client: &Client) -> DevicePoolStatus {
    client.pool_status("bob", "phone").await.unwrap()
}

/// Follows a watch until it tells what the pool is.
async fn catches_up(watch: &mut PoolWatch, client: &Client) {
    let caught_up = async {
        let wanted = status(client).await.pools[0].spent;
        while watch.next().await.unwrap().pools[0].spent != wanted {}
    };
    tokio::time::timeout(PATIENCE, caught_up).await.expect("the watch tells the last state");
}

/// Ends the replica that streams while packages are spent at another.
async fn survives(signal: Signal) {
    let database = TestDatabase::create().await;
    let start = || Replica::start("be_a_replica", &database.url());
    let (streams, other) = (start(), start());
    let elsewhere = client(&[&other]);
    upload(&elsewhere, 12).await;
    let mut watch = client(&[&streams, &other]).watch_pool("bob", "phone");
    assert_eq!(watch.next().await.unwrap().pools[0].spent, 0);
    spend(&elsewhere).await;
    assert_eq!(watch.next().await.unwrap().pools[0].spent, 1);

    // One change before it ends, which it may not tell any more, one while it does, and one after.
    spend(&elsewhere).await;
    streams.signal(signal);
    spend(&elsewhere).await;
    streams.ended();
    spend(&elsewhere).await;
    catches_up(&mut watch, &elsewhere).await;
    // And it goes on where it streams now.
    spend(&elsewhere).await;
    catches_up(&mut watch, &elsewhere).await;
}

#[tokio::test]
async fn a_watch_survives_that_its_replica_is_stopped() {
    survives(Signal::TERM).await;
}

#[tokio::test]
async fn a_watch_survives_that_its_replica_is_killed() {
    survives(Signal::KILL).await;
}
