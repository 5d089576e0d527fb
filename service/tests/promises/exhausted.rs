//! Promise 2: nobody hears "exhausted" while a package is left.

use crate::support::{
    Client, calls::*, client, device, fill, fill_last_resort, locks::has_executed, locks::lock,
    pool, reason, reserve,
};
use keypool_proto::v1::{ErrorReason, ReserveKeyPackagesResponse, Target};
use keypool_service::testing::server::TestServer;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{collections::HashSet, sync::Arc};
use tokio::{sync::Barrier, task::JoinSet};
use tonic::Status;

const CALLS: usize = 64;

/// Reserves for as many targets at the same moment as there are calls, over the clients in turn.
async fn race(
    clients: &[Client],
    targets: impl Fn(usize) -> Vec<Target>,
) -> Vec<Result<ReserveKeyPackagesResponse, Status>> {
    let start = Arc::new(Barrier::new(CALLS));
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let mut client = clients[call % clients.len()].clone();
        let (start, targets) = (start.clone(), targets(call));
        calls.spawn(async move {
            start.wait().await;
            reserve(&mut client, &format!("r{call}"), targets).await
        });
    }
    calls.join_all().await
}

/// Checks that so many calls got a package each, all different, and the others heard that there are none left.
fn assert_shared_out(results: &[Result<ReserveKeyPackagesResponse, Status>], expected: usize) {
    let got: Vec<_> = results.iter().flatten().flat_map(packages).map(reference).collect();
    let different: HashSet<_> = got.iter().collect();
    assert_eq!((got.len(), different.len()), (expected, expected));
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(reason(error), ErrorReason::PoolExhausted, "{error:?}");
    }
}

fn phone(_call: usize) -> Vec<Target> {
    vec![device("bob", "phone")]
}

/// A service, and another on the same database, with a client each.
async fn two_replicas() -> ([TestServer; 2], [Client; 2]) {
    let one = TestServer::start().await;
    let other = one.replica().await;
    let clients = [client(&one).await, client(&other).await];
    ([one, other], clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_calls_as_packages_all_succeed() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", CALLS).await;
    assert_shared_out(&race(&[client], phone).await, CALLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_too_many_leaves_exactly_one_without() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", CALLS - 1).await;
    assert_shared_out(&race(&[client], phone).await, CALLS - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_packages_every_call_hears_so() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    revoke_all(&mut client, "bob", "phone").await;
    assert_shared_out(&race(&[client], phone).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_resort_is_there_for_every_call() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let results = race(&[client.clone()], phone).await;
    assert!(results.iter().flatten().flat_map(packages).all(|package| package.last_resort));
    assert_eq!(results.iter().flatten().count(), CALLS);
    assert_eq!(uses(&mut client, "bob", "phone").await, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_packages_out() {
    let (_servers, mut clients) = two_replicas().await;
    fill(&mut clients[0], "bob", "phone", CALLS).await;
    assert_shared_out(&race(&clients, phone).await, CALLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_leave_exactly_one_call_without() {
    let (_servers, mut clients) = two_replicas().await;
    fill(&mut clients[0], "bob", "phone", CALLS - 1).await;
    assert_shared_out(&race(&clients, phone).await, CALLS - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_last_resort() {
    let (_servers, mut clients) = two_replicas().await;
    fill_last_resort(&mut clients[0], "bob", "phone").await;
    let results = race(&clients, phone).await;
    assert_eq!(results.iter().flatten().count(), CALLS);
    assert_eq!(uses(&mut clients[0], "bob", "phone").await, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_for_different_users_do_not_disturb_each_other() {
    let (_servers, mut clients) = two_replicas().await;
    for call in 0..CALLS {
        fill(&mut clients[0], &format!("user{call}"), "phone", 1).await;
    }
    let own = |call| vec![device(&format!("user{call}"), "phone")];
    assert_shared_out(&race(&clients, own).await, CALLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_want_the_same_devices_in_any_order_all_succeed() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let (_servers, mut clients) = two_replicas().await;
    let devices = ["phone", "tablet", "laptop"];
    for name in devices {
        fill(&mut clients[0], "bob", name, CALLS).await;
    }
    let shuffled = |call| {
        let mut targets: Vec<_> = devices.iter().map(|name| device("bob", name)).collect();
        targets.shuffle(&mut StdRng::seed_from_u64(seed.wrapping_add(call as u64)));
        targets
    };
    assert_shared_out(&race(&clients, shuffled).await, devices.len() * CALLS);
}

#[tokio::test]
async fn a_package_that_somebody_locks_for_a_moment_is_not_exhausted() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let other = lock(&server, "SELECT key_package_ref FROM one_time").await;

    let mut caller = client.clone();
    let call = tokio::spawn(async move { reserve(&mut caller, "r1", phone(0)).await });
    has_executed(server.database(), "take").await;
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(packages(&call.await.unwrap().unwrap()).len(), 1);
    assert_eq!(pool(&mut client, "bob", "phone").await.reserved, 1);
}

#[tokio::test]
async fn a_package_that_somebody_takes_meanwhile_is_exhausted() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let other = lock(&server, "SELECT key_package_ref FROM one_time").await;

    let call = tokio::spawn(async move { reserve(&mut client, "r1", phone(0)).await });
    has_executed(server.database(), "take").await;
    other.batch_execute("DELETE FROM one_time; COMMIT").await.unwrap();
    assert_eq!(reason(&call.await.unwrap().unwrap_err()), ErrorReason::PoolExhausted);
}
