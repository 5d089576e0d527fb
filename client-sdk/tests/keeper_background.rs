//! A keeper in the background.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use keypool_client::mls::{MemoryPoolStore, PackageState};
use keypool_client::proto::v1::*;
use keypool_client::{Client, PoolKeeper, PoolKeeperBuilder, Revoke};
use keypool_service::testing::server::TestServer;
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use support::device::{Device, SUITE};
use support::*;
use tonic::{Code, Status};

type Keeper = PoolKeeper<Arc<OpenMlsRustCrypto>, Arc<SignatureKeyPair>>;

fn builder(client: &Client) -> (PoolKeeperBuilder, Arc<MemoryPoolStore>) {
    let store = Arc::new(MemoryPoolStore::default());
    let builder = PoolKeeper::builder(client.clone(), "bob", "phone", [SUITE]);
    (builder.store(store.clone()), store)
}

fn build(builder: PoolKeeperBuilder) -> Keeper {
    let bob = Device::new("bob", "phone");
    builder.build(Arc::new(bob.provider), bob.credential, Arc::new(bob.signer))
}

/// As the service has it.
async fn last_resort(client: &Client) -> LastResortStatus {
    let status = client.pool_status("bob", "phone").await.unwrap();
    status.pools[0].last_resort.clone().unwrap()
}

#[tokio::test]
async fn a_pool_that_runs_low_is_filled_at_once() {
    let server = TestServer::start().await;
    let client = Client::builder(server.endpoint()).connect().await.unwrap();
    let (builder, store) = builder(&client);
    let keeper = build(builder);
    assert_eq!(keeper.status().unwrap().last_refresh, None);

    let keeping = keeper.spawn();
    eventually(|| keeper.status().unwrap().last_refresh.is_some()).await;
    let status = keeper.status().unwrap();
    assert_eq!(status.packages[&PackageState::Uploaded], 33);
    assert_eq!(status.last_error, None);
    assert_eq!(status.pool.unwrap().pools[0].available, 32);
    eventually(|| keeper.status().unwrap().next_refresh.is_some()).await;

    let last_resort = last_resort(&client).await.key_package_ref;
    let records = keypool_client::PoolStore::records(&*store).unwrap().into_iter();
    let one_time = records.map(|record| record.key_package_ref).filter(|one| *one != last_resort);
    let revoke = Revoke::Refs(one_time.take(30).collect());
    assert_eq!(client.revoke("bob", Some("phone"), revoke).await.unwrap(), 30);

    let filled = || {
        let pool = keeper.status().unwrap().pool.unwrap();
        pool.pools[0].accepted == 62 && pool.pools[0].available == 32
    };
    eventually(filled).await;
    // By hand meanwhile.
    assert_eq!(keeper.refresh().await.unwrap().uploaded.len(), 0);
    keeping.stop().await;
    assert_eq!(keeper.status().unwrap().next_refresh, None);
    server.stop().await;
}

#[tokio::test]
async fn a_pool_that_the_service_has_quarantined_is_reconciled_at_once() {
    let server = TestServer::start().await;
    let client = Client::builder(server.endpoint()).connect().await.unwrap();
    let keeper = build(builder(&client).0);
    let keeping = keeper.spawn();
    let pool = || keeper.status().unwrap().pool.map(|mut pool| pool.pools.remove(0));
    eventually(|| pool().is_some_and(|pool| pool.available == 32)).await;
    let reconciled = keeper.status().unwrap().last_refresh;

    server.raise_fence().await;
    eventually(|| keeper.status().unwrap().last_refresh > reconciled).await;
    eventually(|| pool().is_some_and(|pool| pool.available == 32 && pool.quarantined == 0)).await;
    assert_eq!(pool().unwrap().accepted, 32, "none had to be made anew");
    keeping.stop().await;
    server.stop().await;
}

fn healthy() -> DevicePoolStatus {
    let pool = CipherSuitePool {
        cipher_suite: 1,
        health: PoolHealth::Healthy.into(),
        last_resort: Some(LastResortStatus::default()),
        ..Default::default()
    };
    DevicePoolStatus { pools: vec![pool], ..Default::default() }
}

/// Answers for a first refresh that has nothing to do but a last resort.
fn answer_first_refresh(fake: &Fake) {
    fake.status
        .answer(Ok(GetPoolStatusResponse { devices: vec![healthy()], ..Default::default() }));
    fake.reconcile
        .answer(Ok(ReconcilePoolResponse { pool_status: Some(healthy()), ..Default::default() }));
    answer_upload(fake);
}

fn answer_upload(fake: &Fake) {
    let accepted = UploadResult { outcome: UploadOutcome::Accepted.into(), ..Default::default() };
    fake.upload.answer(Ok(UploadKeyPackagesResponse {
        results: vec![accepted],
        pool_status: Some(healthy()),
        ..Default::default()
    }));
}

#[tokio::test]
async fn where_the_pool_can_not_be_watched_it_is_refreshed_all_the_same() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let denied = || Status::new(Code::PermissionDenied, "no watching");
    fake.watch.answer(Err(denied())).answer(Err(denied()));
    answer_first_refresh(&fake);
    fake.status
        .answer(Ok(GetPoolStatusResponse { devices: vec![healthy()], ..Default::default() }));
    answer_upload(&fake);

    let keeper = build(builder(&client).0.refresh_interval(Duration::from_secs(1)));
    let keeping = keeper.spawn();
    eventually(|| fake.upload.requests().len() == 2).await;
    eventually(|| fake.watch.requests().len() >= 2).await;
    keeping.stop().await;
}

#[tokio::test]
async fn after_a_failure_it_tries_again_by_itself() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.status
        .answer(Ok(GetPoolStatusResponse { devices: vec![healthy()], ..Default::default() }));
    fake.reconcile.answer(Err(Status::new(Code::Internal, "out of order")));
    answer_first_refresh(&fake);

    let keeper = build(builder(&client).0);
    let keeping = keeper.spawn();
    eventually(|| keeper.status().unwrap().last_error.is_some()).await;
    let error = keeper.status().unwrap().last_error.unwrap();
    assert!(error.contains("out of order"), "{error}");
    eventually(|| keeper.status().unwrap().last_refresh.is_some()).await;
    assert_eq!(keeper.status().unwrap().last_error, None);
    keeping.stop().await;
}

#[tokio::test]
async fn a_watch_that_says_low_makes_a_refresh() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let low = || {
        let mut status = healthy();
        status.pools[0].health = PoolHealth::Low.into();
        Ok(WatchPoolResponse { pool_status: Some(status) })
    };
    answer_first_refresh(&fake);
    fake.watch.answer(Ok(vec![low()]));
    fake.status
        .answer(Ok(GetPoolStatusResponse { devices: vec![healthy()], ..Default::default() }));
    answer_upload(&fake);

    let keeper = build(builder(&client).0);
    let keeping = keeper.spawn();
    eventually(|| fake.status.requests().len() == 1).await;
    keeping.stop().await;
    assert_eq!(fake.watch.requests().len(), 1, "one watch for all");
}

#[tokio::test]
async fn a_refresh_under_way_is_finished_before_it_stops() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    answer_first_refresh(&fake);
    let bob = Device::new("bob", "phone");
    // Not in a task of its own: provider and signer may be borrowed.
    let keeper = builder(&client).0.build(&bob.provider, bob.credential.clone(), &bob.signer);
    assert_eq!(keeper.run_until(async { "stop" }).await, "stop");
    assert_eq!(fake.upload.requests().len(), 1);
    assert!(keeper.status().unwrap().last_refresh.is_some());
}

#[tokio::test]
async fn a_dropped_handle_ends_the_task() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    answer_first_refresh(&fake);
    let (builder, store) = builder(&client);
    let keeper = build(builder);

    let keeping = keeper.spawn();
    eventually(|| fake.upload.requests().len() == 1).await;
    drop(keeping);
    drop(keeper);
    eventually(|| Arc::strong_count(&store) == 1).await;
}
