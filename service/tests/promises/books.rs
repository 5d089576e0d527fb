//! Promise 7: accepted = available + reserved + spent + expired + revoked + purged, at any time.

use crate::support::{
    Client, assert_balanced, calls::*, client, fill, fill_last_resort, pool, spend, upload,
};
use jiff::SignedDuration;
use keypool_proto::v1::revoke_key_packages_request::Selector;
use keypool_proto::v1::{CipherSuitePool, KeyPackageRefs, UnusableReason};
use keypool_service::testing::server::TestServer;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

/// The pool, whose books balance.
async fn books(client: &mut Client) -> CipherSuitePool {
    let pool = pool(client, "bob", "phone").await;
    assert_balanced(&pool);
    pool
}

async fn sweep(server: &TestServer) {
    while server.server().pool().sweep().await.unwrap() != <_>::default() {}
}

/// available, reserved, spent, expired, revoked, purged
fn counts(pool: &CipherSuitePool) -> [u64; 6] {
    [pool.available, pool.reserved, pool.spent, pool.expired, pool.revoked, pool.purged]
}

#[tokio::test]
async fn they_balance_after_every_step_of_a_packages_life() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let mut packages = ending_in("bob", "phone", SignedDuration::from_hours(2)).make_many(3);
    packages.extend(ending_in("bob", "phone", SignedDuration::from_hours(48)).make_many(5));
    upload(&mut client, "bob", "phone", packages).await;
    assert_eq!(counts(&books(&mut client).await), [8, 0, 0, 0, 0, 0]);
    fill_last_resort(&mut client, "bob", "phone").await;
    assert_eq!(books(&mut client).await.accepted, 8);

    // The shortest-lived come first.
    let spent = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let given_back = reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
    let bad = reserve_one(&mut client, "r3", "bob", "phone").await.unwrap();
    assert_eq!(counts(&books(&mut client).await), [5, 3, 0, 0, 0, 0]);
    spend(&mut client, "r1", named(&spent)).await.unwrap();
    assert_eq!(counts(&books(&mut client).await), [5, 2, 1, 0, 0, 0]);
    release(&mut client, "r2", named(&given_back)).await.unwrap();
    assert_eq!(counts(&books(&mut client).await), [6, 1, 1, 0, 0, 0]);
    let report = release_request("r3", named(&bad), UnusableReason::Other);
    client.release_reservation(report).await.unwrap();
    assert_eq!(counts(&books(&mut client).await), [6, 0, 1, 0, 1, 0]);

    server.clock().advance(SignedDuration::from_hours(3));
    assert_eq!(counts(&books(&mut client).await), [5, 0, 1, 1, 1, 0]);
    let revoked_then_spent = reserve_one(&mut client, "r4", "bob", "phone").await.unwrap();
    let name = reference(&revoked_then_spent);
    let selector = Selector::Refs(KeyPackageRefs { key_package_refs: vec![name] });
    client.revoke_key_packages(revoke_request("bob", "phone", selector)).await.unwrap();
    assert_eq!(counts(&books(&mut client).await), [4, 0, 1, 1, 2, 0]);
    spend(&mut client, "r4", named(&revoked_then_spent)).await.unwrap();
    assert_eq!(counts(&books(&mut client).await), [4, 0, 2, 1, 1, 0]);
    sweep(&server).await;
    assert_eq!(counts(&books(&mut client).await), [4, 0, 2, 1, 1, 0]);

    // A day after their end, expired and revoked packages are forgotten; the spend log lasts longer.
    server.clock().advance(SignedDuration::from_hours(24));
    sweep(&server).await;
    assert_eq!(counts(&books(&mut client).await), [4, 0, 2, 0, 0, 2]);
    server.clock().advance(SignedDuration::from_hours(100 * 24));
    assert_eq!(counts(&books(&mut client).await), [0, 0, 2, 4, 0, 2]);
    sweep(&server).await;
    assert_eq!(counts(&books(&mut client).await), [0, 0, 0, 0, 0, 8]);
}

/// Reserves, and then does something with what it got, again and again.
async fn carry_on(mut client: Client, worker: u64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed.wrapping_add(worker));
    for call in 0..30 {
        let reservation = format!("r{worker}-{call}");
        let Ok(held) = reserve_one(&mut client, &reservation, "bob", "phone").await else {
            fill(&mut client, "bob", "phone", 4).await;
            continue;
        };
        match random.random_range(0..4) {
            0 => spend(&mut client, &reservation, named(&held)).await.unwrap(),
            1 => release(&mut client, &reservation, named(&held)).await.unwrap(),
            2 => {
                let report = release_request(&reservation, named(&held), UnusableReason::Other);
                client.release_reservation(report).await.unwrap();
            }
            _ => {
                let selector =
                    Selector::Refs(KeyPackageRefs { key_package_refs: vec![reference(&held)] });
                let request = revoke_request("bob", "phone", selector);
                client.revoke_key_packages(request).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_balance_at_any_time_under_load() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 16).await;
    let mut workers = JoinSet::new();
    for worker in 0..4 {
        workers.spawn(carry_on(client.clone(), worker, seed));
    }
    while !workers.is_empty() {
        books(&mut client).await;
        sweep(&server).await;
        while let Some(worker) = workers.try_join_next() {
            worker.unwrap();
        }
    }
    let last = books(&mut client).await;
    assert!(last.spent > 0 && last.revoked > 0, "{last:?}");
}
