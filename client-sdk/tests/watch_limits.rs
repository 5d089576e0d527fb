//! Watches beside many others, and on connections that end.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use jiff::SignedDuration;
use keypool_client::proto::v1::*;
use keypool_client::{Client, PoolWatch};
use keypool_service::testing::packages::PackageMaker;
use keypool_service::testing::server::TestServer;
use prost_types::Any;
use support::relay::Relay;
use support::*;
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::pb;

/// Shorter than the pause between two polls.
const PATIENCE: Duration = Duration::from_secs(25);

async fn client(endpoint: impl Into<String>) -> Client {
    Client::builder(endpoint).connect().await.unwrap()
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

async fn next(watch: &mut PoolWatch) -> DevicePoolStatus {
    timeout(PATIENCE, watch.next()).await.expect("a status comes in time").unwrap()
}

/// Opens many watches with one client, and makes calls with it meanwhile.
async fn many_watches(server: &TestServer, count: usize) {
    let client = client(server.endpoint()).await;
    upload(&client, 10).await;
    let mut watches = Vec::new();
    for _ in 0..count {
        let mut watch = client.watch_pool("bob", "phone");
        assert_eq!(next(&mut watch).await.pools[0].spent, 0);
        watches.push(watch);
    }
    spend(&client).await;
    for watch in &mut watches {
        assert_eq!(next(watch).await.pools[0].spent, 1);
    }
}

#[tokio::test]
async fn calls_go_on_beside_three_hundred_watches() {
    many_watches(&TestServer::start().await, 300).await;
}

#[tokio::test]
async fn a_service_that_allows_few_watches_on_a_connection_gets_more_connections() {
    let server = TestServer::start_with(|config| config.limits.streams_per_connection = 6).await;
    many_watches(&server, 20).await;
}

#[tokio::test]
async fn who_finds_no_room_is_told_the_status_all_the_same() {
    let server = TestServer::start_with(|config| config.limits.watches = 1).await;
    let client = client(server.endpoint()).await;
    let mut first = client.watch_pool("bob", "phone");
    next(&mut first).await;

    let mut second = client.watch_pool("bob", "phone");
    let unknown = next(&mut second).await;
    assert_eq!((unknown.user_id.as_str(), unknown.health()), ("bob", PoolHealth::Empty));
    upload(&client, 10).await;
    let mut third = client.watch_pool("bob", "phone");
    assert_eq!(next(&mut third).await.health(), PoolHealth::Healthy);
}

#[tokio::test]
async fn another_replica_may_have_room() {
    let full = TestServer::start_with(|config| config.limits.watches = 1).await;
    let other = full.replica().await;
    let elsewhere = client(other.endpoint()).await;
    upload(&elsewhere, 10).await;
    let mut only = client(full.endpoint()).await.watch_pool("bob", "phone");
    next(&mut only).await;

    let client = Client::builder(full.endpoint()).endpoint(other.endpoint());
    let client = client.connect_lazy().unwrap();
    for spent in 0..4 {
        let mut watch = client.watch_pool("bob", "phone");
        assert_eq!(next(&mut watch).await.pools[0].spent, spent);
        spend(&elsewhere).await;
        assert_eq!(next(&mut watch).await.pools[0].spent, spent + 1, "it is not polled");
    }
}

fn too_many(retry_after: Duration) -> Status {
    failure(Code::ResourceExhausted, ErrorReason::TooManyWatches, vec![retry_info(retry_after)])
}

fn spent(spent: u64) -> DevicePoolStatus {
    let pool = CipherSuitePool { cipher_suite: 1, spent, ..Default::default() };
    let (user_id, device_id) = ("bob".into(), "phone".into());
    DevicePoolStatus { user_id, device_id, pools: vec![pool], ..Default::default() }
}

#[tokio::test]
async fn a_pool_is_polled_until_there_is_room_for_a_watch() {
    let (fake, client) = Fake::start().await;
    let client = client.retry(keypool_client::RetryPolicy::never()).connect().await.unwrap();
    let polled = |status| Ok(GetPoolStatusResponse { devices: vec![status], ..Default::default() });
    let told = |status| Ok(WatchPoolResponse { pool_status: Some(status) });
    fake.watch.answer(Err(too_many(Duration::from_millis(200))));
    fake.status.answer(polled(spent(1))).answer(polled(spent(2)));
    fake.watch.answer(Err(too_many(Duration::from_millis(200))));
    // What is no news is not told, and what passes is no error.
    fake.status.answer(polled(spent(2))).answer(Err(unavailable()));
    fake.watch.answer(Ok(vec![told(spent(2)), told(spent(3))]));
    fake.status.always(Err(failure(Code::Internal, ErrorReason::Internal, vec![])));

    let mut watch = client.watch_pool("bob", "phone");
    for number in 1..=3 {
        assert_eq!(next(&mut watch).await, spent(number));
    }
    assert_eq!(fake.watch.requests().len(), 3);
    assert_eq!(fake.status.requests().len(), 4);
}

#[tokio::test]
async fn a_service_that_asks_for_no_patience_is_spared_all_the_same() {
    let (fake, client) = Fake::start().await;
    let client = client.retry(keypool_client::RetryPolicy::never()).connect().await.unwrap();
    fake.watch.always(Err(too_many(Duration::ZERO)));
    fake.status.always(Ok(GetPoolStatusResponse { devices: vec![spent(1)], ..Default::default() }));

    let mut watch = client.watch_pool("bob", "phone");

    assert_eq!(next(&mut watch).await, spent(1));
    assert_eq!(fake.watch.requests().len(), 1);
}

#[tokio::test]
async fn a_connection_that_allows_no_watch_at_all_has_the_pool_polled() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let metadata = [("limit".to_owned(), "connection".to_owned())].into();
    let info =
        pb::ErrorInfo { reason: "TOO_MANY_WATCHES".into(), domain: "keypool".into(), metadata };
    let details: Vec<Any> = vec![detail("google.rpc.ErrorInfo", &info)];
    let status = pb::Status { code: Code::ResourceExhausted as i32, details, ..Default::default() };
    let details = prost::Message::encode_to_vec(&status).into();
    fake.watch.always(Err(Status::with_details(Code::ResourceExhausted, "words", details)));
    fake.status.always(Ok(GetPoolStatusResponse { devices: vec![spent(7)], ..Default::default() }));
    assert_eq!(next(&mut client.watch_pool("bob", "phone")).await, spent(7));
    assert_eq!(fake.watch.requests().len(), 1);
}

#[tokio::test]
async fn a_watch_outlives_its_connections_and_tells_each_change_once() {
    let server = TestServer::start_with(|config| {
        config.limits.connection_age = SignedDuration::from_secs(1);
    })
    .await;
    let relay = Relay::start(&server.endpoint()).await;
    let elsewhere = client(server.endpoint()).await;
    upload(&elsewhere, 50).await;
    let mut watch = client(&relay.endpoint).await.watch_pool("bob", "phone");
    assert_eq!(next(&mut watch).await.pools[0].spent, 0);
    let mut spent = 0;
    while relay.connections() < 3 {
        // Nothing comes but what changed, however long it takes.
        let quiet = timeout(Duration::from_millis(500), watch.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        spend(&elsewhere).await;
        spent += 1;
        assert_eq!(next(&mut watch).await.pools[0].spent, spent);
        assert!(spent < 50, "the watch is opened again");
    }
}
