//! What a keeper says of a pool that is not as it should be.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, SystemTime};

use keypool_client::mls::{ClockOffset, KeeperProblem, KeeperStatus, Rejections};
use keypool_client::proto::v1::*;
use keypool_client::{Client, PoolKeeper, PoolKeeperBuilder};
use keypool_service::testing::server::TestServer;
use openmls::prelude::{Capabilities, CredentialType};
use support::device::{Device, SUITE};
use support::keeper::{DAY, HOUR, Keeper, Phone};
use support::*;
use tonic::Code;

/// A keeper by the machine's clock, moved by so much.
fn builder(client: &Client, ahead: Duration, behind: Duration) -> PoolKeeperBuilder {
    #[allow(clippy::disallowed_methods)] // the keeper's clock is what is tested
    let clock = move || SystemTime::now() + ahead - behind;
    PoolKeeper::builder(client.clone(), "bob", "phone", [SUITE]).clock(clock)
}

fn build<'a>(builder: PoolKeeperBuilder, bob: &'a Device) -> Keeper<'a> {
    let builder = builder.store(bob.store.clone());
    builder.build(&bob.provider, bob.credential.clone(), &bob.signer)
}

fn rejected(status: &KeeperStatus) -> Vec<(RejectionReason, usize)> {
    let rejected = status.problems.iter().filter_map(|problem| match problem {
        KeeperProblem::Rejected(Rejections { reason, count, .. }) => Some((*reason, *count)),
        _ => None,
    });
    rejected.collect()
}

fn wrong_clock(status: &KeeperStatus) -> Option<ClockOffset> {
    status.problems.iter().find_map(|problem| match problem {
        KeeperProblem::WrongClock(offset) => Some(*offset),
        _ => None,
    })
}

#[tokio::test]
async fn a_keeper_whose_packages_are_all_rejected_says_why() {
    use RejectionReason::{Expired, InvalidLifetime, NotYetValid, WrongIdentity};
    let server = TestServer::start().await;
    let client = Client::builder(server.endpoint()).connect().await.unwrap();
    let none = Duration::ZERO;
    let cases = [
        ("clock ahead", builder(&client, 3 * HOUR, none), NotYetValid),
        ("clock behind", builder(&client, none, 20 * DAY), Expired),
        ("lifetime", builder(&client, none, none).lifetime(90 * DAY), InvalidLifetime),
        ("identity", builder(&client, none, none), WrongIdentity),
    ];
    for (name, builder, reason) in cases {
        let identity = if name == "identity" { "tablet" } else { "phone" };
        let bob = Device::new("bob", identity);
        let keeper = build(builder, &bob);

        let refreshed = keeper.refresh().await.unwrap();
        let status = keeper.status().unwrap();

        assert_eq!(rejected(&status), [(reason, 33)], "{name}");
        assert_eq!(status.problems, refreshed.problems, "{name}");
        assert_eq!(status.rejected, refreshed.rejections(), "{name}");
        let lacks =
            KeeperProblem::Understocked { cipher_suite: 1, available: 0, last_resort: false };
        assert!(status.problems.contains(&lacks), "{name}: {status:?}");
        assert!(!status.is_healthy(), "{name}");
        let words = status.last_error.unwrap();
        assert!(words.contains("33 packages rejected"), "{name}: {words}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_clock_is_measured_and_forgiven() {
    let server = TestServer::start().await;
    let client = Client::builder(server.endpoint()).connect().await.unwrap();
    let bob = Device::new("bob", "phone");
    let near = |distance: Duration, wanted| distance.abs_diff(wanted) < Duration::from_secs(60);

    let ahead = build(builder(&client, 3 * HOUR, Duration::ZERO), &bob);
    ahead.refresh().await.unwrap();
    let offset = wrong_clock(&ahead.status().unwrap()).unwrap();
    assert!(matches!(offset, ClockOffset::Ahead(by) if near(by, 3 * HOUR)), "{offset}");

    // Accepted, but of a shorter life than they should have.
    let behind = build(builder(&client, Duration::ZERO, 5 * DAY), &bob);
    behind.refresh().await.unwrap();
    let status = behind.status().unwrap();
    let offset = wrong_clock(&status).unwrap();
    assert!(matches!(offset, ClockOffset::Behind(by) if near(by, 5 * DAY)), "{offset}");
    assert_eq!(status.clock_offset, Some(offset));
    assert_eq!(rejected(&status), []);
    assert_eq!(behind.refresh().await.unwrap().uploaded.len(), 0);
    assert!(wrong_clock(&behind.status().unwrap()).is_some(), "as long as it is wrong");

    let right = build(builder(&client, Duration::ZERO, Duration::ZERO), &bob);
    right.refresh().await.unwrap();
    let status = right.status().unwrap();
    assert!(status.is_healthy(), "{status:?}");
    assert_eq!((status.problems, status.last_error), (vec![], None));
    server.stop().await;
}

#[tokio::test]
async fn a_rejected_last_resort_is_a_problem_by_itself() {
    let server = TestServer::start().await;
    let client = Client::builder(server.endpoint()).connect().await.unwrap();
    let bob = Device::new("bob", "phone");
    let without_last_resort =
        Capabilities::new(None, Some(&[SUITE]), None, None, Some(&[CredentialType::Basic]));
    let builder = PoolKeeper::builder(client.clone(), "bob", "phone", [SUITE]);
    let keeper = build(builder.capabilities(without_last_resort), &bob);

    keeper.refresh().await.unwrap();

    let status = keeper.status().unwrap();
    let [(_, count)] = rejected(&status)[..] else { panic!("{status:?}") };
    assert_eq!(count, 1);
    let lacks = KeeperProblem::Understocked { cipher_suite: 1, available: 32, last_resort: false };
    assert!(status.problems.contains(&lacks), "{status:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_full_pool_is_told_and_a_problem_only_if_something_lacks() {
    let server = TestServer::start_with(|config| {
        (config.pool.target, config.pool.cap) = (16, 16);
    })
    .await;
    let client = Client::builder(server.endpoint()).connect().await.unwrap();
    let bob = Device::new("bob", "phone");
    let keeper = build(builder(&client, Duration::ZERO, Duration::ZERO), &bob);
    keeper.refresh().await.unwrap();
    let status = keeper.status().unwrap();
    assert_eq!(status.rejected[0].reason, RejectionReason::PoolFull);
    assert_eq!(status.rejected[0].count, 16);
    assert!(status.is_healthy(), "{status:?}");
    server.stop().await;

    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let pool = CipherSuitePool {
        cipher_suite: 1,
        health: PoolHealth::Healthy.into(),
        last_resort: Some(LastResortStatus::default()),
        ..Default::default()
    };
    // Another process may have filled it meanwhile.
    let filled = DevicePoolStatus { pools: vec![pool], ..Default::default() };
    for (after, is_healthy) in [(DevicePoolStatus::default(), false), (filled, true)] {
        let bob = Device::new("bob", "phone");
        let keeper = build(builder(&client, Duration::ZERO, Duration::ZERO), &bob);
        fake.status.answer(Ok(known()));
        fake.reconcile.answer(Ok(ReconcilePoolResponse {
            pool_status: Some(DevicePoolStatus::default()),
            ..Default::default()
        }));
        let rejections = all_rejected(RejectionReason::PoolFull, 33);
        let pool_status = Some(after);
        fake.upload.answer(Ok(UploadKeyPackagesResponse { pool_status, ..rejections }));
        keeper.refresh().await.unwrap();
        let status = keeper.status().unwrap();
        assert_eq!(status.rejected[0].count, 33);
        assert_eq!(status.is_healthy(), is_healthy, "{status:?}");
        let told = if is_healthy { vec![] } else { vec![(RejectionReason::PoolFull, 33)] };
        assert_eq!(rejected(&status), told);
    }
}

/// The status of a device that has uploaded before.
fn known() -> GetPoolStatusResponse {
    GetPoolStatusResponse { devices: vec![DevicePoolStatus::default()], ..Default::default() }
}

fn all_rejected(reason: RejectionReason, count: usize) -> UploadKeyPackagesResponse {
    let outcome = UploadOutcome::Rejected.into();
    let rejected = UploadResult { outcome, rejection_reason: reason.into(), ..Default::default() };
    UploadKeyPackagesResponse {
        results: vec![rejected; count],
        pool_status: Some(DevicePoolStatus::default()),
        ..Default::default()
    }
}

#[tokio::test]
async fn rejections_before_a_failure_are_told() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let keeper = build(PoolKeeper::builder(client, "bob", "phone", [SUITE]), &bob);
    let pool =
        CipherSuitePool { cipher_suite: 1, recommended_upload_count: 130, ..Default::default() };
    let pool_status = Some(DevicePoolStatus { pools: vec![pool], ..Default::default() });
    fake.status.always(Ok(known()));
    fake.reconcile.answer(Ok(ReconcilePoolResponse { pool_status, ..Default::default() }));
    fake.upload.answer(Ok(all_rejected(RejectionReason::InvalidSignature, 100)));
    fake.upload.answer(Err(failure(Code::Internal, ErrorReason::Internal, vec![])));

    keeper.refresh().await.unwrap_err();

    let status = keeper.status().unwrap();
    assert_eq!(rejected(&status), [(RejectionReason::InvalidSignature, 100)]);
    let words = status.last_error.unwrap();
    assert!(words.contains("the upload failed"), "{words}");
}

#[tokio::test]
async fn packages_that_inviters_find_unusable_are_told_for_as_long_as_they_are_remembered() {
    let phone = Phone::new().await;
    let keeper = phone.keeper();
    keeper.refresh().await.unwrap();
    let mut reservation = phone.client.reserve(b"group").user("bob").send().await.unwrap();
    let name = reservation.packages()[0].name.clone();
    reservation.release_unusable(&name, UnusableReason::Other).await.unwrap();

    keeper.refresh().await.unwrap();
    let unusable = KeeperProblem::Unusable { reason: UnusableReason::Other, count: 1 };
    assert_eq!(keeper.status().unwrap().problems, [unusable]);

    for _ in 0..3 {
        phone.advance(DAY);
        keeper.refresh().await.unwrap();
    }
    assert!(keeper.status().unwrap().is_healthy());
    phone.server.stop().await;
}
