//! What a fence keeps back, and from whom.

use super::{
    lift,
    support::{
        Client, assert_balanced,
        calls::{eventually, extend, named, reconcile, reference, refs, release, reserve_one},
        client, fill, fill_last_resort, pool, reason, spend, upload_request,
    },
    use_one,
};
use jiff::SignedDuration;
use keypool_proto::v1::{ErrorReason, PoolHealth, UploadOutcome, WatchPoolRequest};
use keypool_service::testing::{packages::PackageMaker, server::TestServer};

const AFTER_A_HOLD: SignedDuration = SignedDuration::from_secs(61);

async fn started() -> (TestServer, Client) {
    let server = TestServer::start().await;
    let client = client(&server).await;
    (server, client)
}

async fn exhausted(client: &mut Client, reservation: &str) {
    let error = reserve_one(client, reservation, "bob", "phone").await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::PoolExhausted);
}

#[tokio::test]
async fn nobody_gets_a_quarantined_package_until_its_device_has_reconciled() {
    let (server, mut client) = started().await;
    let packages = refs(&fill(&mut client, "bob", "phone", 3).await);
    server.raise_fence().await;
    exhausted(&mut client, "early").await;
    let quarantined = pool(&mut client, "bob", "phone").await;
    assert_eq!((quarantined.available, quarantined.quarantined), (0, 3));
    assert_eq!(quarantined.health(), PoolHealth::Empty);
    assert!(quarantined.recommended_action.starts_with("Reconcile"), "{quarantined:?}");
    assert_balanced(&quarantined);

    let kept = packages[..2].to_vec();
    let report = reconcile(&mut client, "bob", "phone", kept.clone()).await.unwrap();
    assert_eq!(report.revoked_key_package_refs, packages[2..]);
    assert!(report.unavailable_key_packages.is_empty(), "{report:?}");
    let mut got = Vec::new();
    for reservation in ["one", "two"] {
        got.push(reference(&reserve_one(&mut client, reservation, "bob", "phone").await.unwrap()));
    }
    got.sort();
    let mut kept = kept;
    kept.sort();
    assert_eq!(got, kept);
    exhausted(&mut client, "three").await;
    assert_balanced(&pool(&mut client, "bob", "phone").await);
}

#[tokio::test]
async fn the_last_resort_serves_meanwhile() {
    let (server, mut client) = started().await;
    fill(&mut client, "bob", "phone", 3).await;
    let last_resort = refs(&fill_last_resort(&mut client, "bob", "phone").await);
    server.raise_fence().await;
    let package = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    assert_eq!(reference(&package), last_resort[0]);
}

#[tokio::test]
async fn what_is_uploaded_afterwards_is_handed_out() {
    let (server, mut client) = started().await;
    fill(&mut client, "bob", "phone", 3).await;
    server.raise_fence().await;
    let fresh = refs(&fill(&mut client, "bob", "phone", 1).await);
    let package = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    assert_eq!(reference(&package), fresh[0]);
    exhausted(&mut client, "another").await;
}

#[tokio::test]
async fn an_upload_of_the_same_package_does_not_vouch_for_it() {
    let (server, mut client) = started().await;
    let packages = PackageMaker::new("bob", "phone").make_many(1);
    let request = upload_request("bob", "phone", packages);
    client.upload_key_packages(request.clone()).await.unwrap();
    server.raise_fence().await;
    let again = client.upload_key_packages(request).await.unwrap().into_inner();
    assert_eq!(again.results[0].outcome(), UploadOutcome::AlreadyPresent);
    exhausted(&mut client, "r").await;
}

#[tokio::test]
async fn a_hold_that_lasts_may_be_extended_and_spent() {
    let (server, mut client) = started().await;
    fill(&mut client, "bob", "phone", 1).await;
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    server.raise_fence().await;
    assert_eq!(pool(&mut client, "bob", "phone").await.reserved, 1);
    // Who asks for it again may have given it back before, and another may have spent it.
    exhausted(&mut client, "r").await;
    extend(&mut client, "r", named(&held)).await.unwrap();
    spend(&mut client, "r", named(&held)).await.unwrap();
    assert_balanced(&pool(&mut client, "bob", "phone").await);
}

#[tokio::test]
async fn a_hold_that_lapsed_is_lost() {
    let (server, mut client) = started().await;
    let packages = refs(&fill(&mut client, "bob", "phone", 1).await);
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    server.raise_fence().await;
    server.clock().advance(AFTER_A_HOLD);
    // Others may have held it since, and spent it, before the database forgot.
    let lost = spend(&mut client, "r", named(&held)).await.unwrap_err();
    assert_eq!(reason(&lost), ErrorReason::ReservationLost);
    let lost = extend(&mut client, "r", named(&held)).await.unwrap_err();
    assert_eq!(reason(&lost), ErrorReason::ReservationLost);
    exhausted(&mut client, "r").await;

    // Nor does it begin anew when the device has vouched for the package.
    reconcile(&mut client, "bob", "phone", packages).await.unwrap();
    spend(&mut client, "r", named(&held)).await.unwrap_err();
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 1);
    reserve_one(&mut client, "another", "bob", "phone").await.unwrap();
}

#[tokio::test]
async fn a_hold_that_lapsed_is_lost_also_when_its_package_is_revoked() {
    let (server, mut client) = started().await;
    fill(&mut client, "bob", "phone", 1).await;
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    server.raise_fence().await;
    server.clock().advance(AFTER_A_HOLD);
    // The device has no private key of it any more: it was spent by another, before the database forgot.
    let report = reconcile(&mut client, "bob", "phone", Vec::new()).await.unwrap();
    assert_eq!(report.revoked_key_package_refs, [reference(&held)]);
    spend(&mut client, "r", named(&held)).await.unwrap_err();
    extend(&mut client, "r", named(&held)).await.unwrap_err();
    assert_balanced(&pool(&mut client, "bob", "phone").await);
}

#[tokio::test]
async fn a_hold_that_lasts_may_be_spent_when_its_package_is_revoked() {
    let (server, mut client) = started().await;
    fill(&mut client, "bob", "phone", 1).await;
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    server.raise_fence().await;
    reconcile(&mut client, "bob", "phone", Vec::new()).await.unwrap();
    spend(&mut client, "r", named(&held)).await.unwrap();
}

#[tokio::test]
async fn a_released_package_stays_in_quarantine() {
    let (server, mut client) = started().await;
    fill(&mut client, "bob", "phone", 1).await;
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    server.raise_fence().await;
    release(&mut client, "r", named(&held)).await.unwrap();
    exhausted(&mut client, "another").await;
    assert_eq!(pool(&mut client, "bob", "phone").await.quarantined, 1);
}

#[tokio::test]
async fn a_lifted_fence_keeps_nothing_back() {
    let (server, mut client) = started().await;
    fill(&mut client, "bob", "phone", 2).await;
    server.raise_fence().await;
    server.raise_fence().await;
    exhausted(&mut client, "early").await;
    lift(&server).await;
    use_one(&mut client, "r").await;
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.available, pool.quarantined), (1, 0));
}

#[tokio::test]
async fn what_was_vouched_for_is_quarantined_by_the_next_fence_again() {
    let (server, mut client) = started().await;
    let packages = refs(&fill(&mut client, "bob", "phone", 1).await);
    server.raise_fence().await;
    reconcile(&mut client, "bob", "phone", packages).await.unwrap();
    server.raise_fence().await;
    exhausted(&mut client, "r").await;
}

#[tokio::test]
async fn watchers_hear_of_it() {
    let (server, mut client) = started().await;
    fill(&mut client, "bob", "phone", 9).await;
    let request = WatchPoolRequest { user_id: "bob".into(), device_id: "phone".into() };
    let mut watch = client.watch_pool(request).await.unwrap().into_inner();
    watch.message().await.unwrap();
    server.raise_fence().await;
    eventually("the watcher hears of it", async || {
        let status = watch.message().await.unwrap().unwrap().pool_status.unwrap();
        status.pools[0].quarantined == 9
    })
    .await;
}
