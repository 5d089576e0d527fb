//! Whole stories of adders and devices: those that an application lives through.

#![allow(clippy::unwrap_used)] // a test says more by failing than an error would

mod support;

use jiff::SignedDuration;
use keypool_proto::v1::{
    CredentialSelector, ErrorReason, MissingTarget, PoolHealth, RejectionReason,
    ReserveKeyPackagesRequest, ReserveKeyPackagesResponse, Target, UnusableReason,
    revoke_key_packages_request::Selector,
};
use keypool_service::{
    testing::{packages::PackageMaker, server::TestServer},
    types::CipherSuite,
};
use support::{
    Client, calls::*, client, device, fill, names, pool, reason, reserve, reserve_details,
    reserve_request, spend, upload, upload_request, user,
};

/// The devices that got a package.
fn reserved_devices(response: &ReserveKeyPackagesResponse) -> Vec<&str> {
    packages(response).iter().map(|one| one.name.as_ref().unwrap().device_id.as_str()).collect()
}

async fn rejection(client: &mut Client, package: Vec<u8>) -> RejectionReason {
    let request = upload_request("bob", "phone", vec![package]);
    rejections(&client.upload_key_packages(request).await.unwrap().into_inner())[0]
}

#[tokio::test]
async fn two_adders_at_once_take_two_packages() {
    let server = TestServer::start().await;
    let mut alice = client(&server).await;
    let mut carol = client(&server).await;
    fill(&mut alice, "bob", "phone", 2).await;
    let (one, other) = tokio::join!(
        reserve_one(&mut alice, "alice", "bob", "phone"),
        reserve_one(&mut carol, "carol", "bob", "phone"),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_ne!(one.name, other.name);
    assert_ne!(one.key_package, other.key_package);
    spend(&mut alice, "alice", named(&one)).await.unwrap();
    spend(&mut carol, "carol", named(&other)).await.unwrap();
    assert_eq!(pool(&mut alice, "bob", "phone").await.spent, 2);
}

#[tokio::test]
async fn a_crashed_adders_hold_returns_after_its_ttl() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let crashed = reserve_one(&mut client, "crashed", "bob", "phone").await.unwrap();
    let error = reserve_one(&mut client, "next", "bob", "phone").await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::PoolExhausted);

    server.clock().advance(SignedDuration::from_secs(60));
    let next = reserve_one(&mut client, "next", "bob", "phone").await.unwrap();
    assert_eq!(next.name, crashed.name);
    spend(&mut client, "next", named(&next)).await.unwrap();
}

#[tokio::test]
async fn an_empty_pool_says_so_and_after_a_refill_the_retry_succeeds() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let last = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    spend(&mut client, "r1", named(&last)).await.unwrap();

    let error = reserve_one(&mut client, "r2", "bob", "phone").await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::PoolExhausted);
    let empty = pool(&mut client, "bob", "phone").await;
    assert_eq!((empty.health(), empty.recommended_upload_count), (PoolHealth::Empty, 32));
    assert!(empty.recommended_action.starts_with("Upload new key packages immediately"));

    let refilled = fill(&mut client, "bob", "phone", 32).await.pool_status.unwrap();
    assert_eq!(refilled.health(), PoolHealth::Healthy);
    reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
}

#[tokio::test]
async fn an_expired_package_is_never_handed_out() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let old = ending_in("bob", "phone", SignedDuration::from_hours(24)).make();
    let old = refs(&upload(&mut client, "bob", "phone", vec![old]).await).remove(0);
    let new = refs(&fill(&mut client, "bob", "phone", 1).await).remove(0);
    server.clock().advance(SignedDuration::from_hours(25));
    let got = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    assert_eq!(reference(&got), new);
    assert_ne!(reference(&got), old);
    let error = reserve_one(&mut client, "r2", "bob", "phone").await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::PoolExhausted);
}

#[tokio::test]
async fn a_spent_package_is_refused_for_ever() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let package = PackageMaker::new("bob", "phone").make();
    upload(&mut client, "bob", "phone", vec![package.clone()]).await;
    let held = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    spend(&mut client, "r1", named(&held)).await.unwrap();
    for _ in 0..3 {
        let error = spend(&mut client, "attacker", named(&held)).await.unwrap_err();
        assert_eq!(reason(&error), ErrorReason::KeyPackageAlreadySpent);
        assert_eq!(rejection(&mut client, package.clone()).await, RejectionReason::AlreadySpent);
        server.clock().advance(SignedDuration::from_hours(24));
    }
    let log = spend_log(&server.endpoint(), <_>::default()).await;
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].reservation_id, "r1");
    assert_eq!(log[0].key_package_ref, reference(&held));
}

#[tokio::test]
async fn two_observers_of_one_pool_see_the_same_list() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let (mut one, mut other) = (client(&server).await, client(&replica).await);
    for name in ["tablet", "phone"] {
        fill(&mut one, "bob", name, 3).await;
    }
    let held = reserve(&mut other, "r1", vec![user("bob")]).await.unwrap();
    spend(&mut one, "r1", names(&held)[..1].to_vec()).await.unwrap();
    let seen = devices(&mut one, "bob").await;
    assert_eq!(devices(&mut other, "bob").await, seen);
    let counts: Vec<_> = seen
        .iter()
        .map(|it| (it.device_id.as_str(), it.pools[0].available, it.pools[0].reserved))
        .collect();
    assert_eq!(counts, [("phone", 2, 0), ("tablet", 2, 1)]);
}

#[tokio::test]
async fn after_a_credential_rotation_only_invites_under_way_use_the_old_packages() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let [old, new] = [PackageMaker::new("bob", "phone"), PackageMaker::new("bob", "phone")];
    upload(&mut client, "bob", "phone", old.make_many(5)).await;
    let in_time = reserve_one(&mut client, "in time", "bob", "phone").await.unwrap();
    let too_late = reserve_one(&mut client, "too late", "bob", "phone").await.unwrap();

    let fresh = refs(&upload(&mut client, "bob", "phone", new.make_many(2)).await);
    let credential =
        CredentialSelector { signature_key: old.signer().public().into(), ..<_>::default() };
    let request = revoke_request("bob", "", Selector::Credential(credential));
    let revoked = client.revoke_key_packages(request).await.unwrap().into_inner();
    assert_eq!(revoked.revoked_count, 5);
    for reservation in ["a", "b"] {
        let got = reserve_one(&mut client, reservation, "bob", "phone").await.unwrap();
        assert!(fresh.contains(&reference(&got)));
    }
    let error = reserve_one(&mut client, "c", "bob", "phone").await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::PoolExhausted);
    assert_eq!(rejection(&mut client, in_time.key_package.clone()).await, RejectionReason::Revoked);

    server.clock().advance(SignedDuration::from_hours(23));
    spend(&mut client, "in time", named(&in_time)).await.unwrap();
    server.clock().advance(SignedDuration::from_hours(2));
    let error = spend(&mut client, "too late", named(&too_late)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::KeyPackageRevoked);
}

#[tokio::test]
async fn an_unusable_package_goes_to_nobody_else_and_its_device_learns_of_it() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let bad = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let report = release_request("r1", named(&bad), UnusableReason::Other);
    client.release_reservation(report).await.unwrap();

    let error = reserve_one(&mut client, "r2", "bob", "phone").await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::PoolExhausted);
    let error = spend(&mut client, "r1", named(&bad)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::KeyPackageRevoked);
    let status = devices(&mut client, "bob").await.remove(0);
    assert_eq!((status.pools[0].available, status.pools[0].revoked), (0, 1));
    let [unusable] = &status.unusable_key_packages[..] else { panic!("{status:?}") };
    assert_eq!(unusable.key_package_ref, reference(&bad));
    assert_eq!(unusable.reason(), UnusableReason::Other);
}

#[tokio::test]
async fn every_device_of_a_user_is_reserved_but_the_excluded_ones() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    for name in ["laptop", "phone", "tablet"] {
        fill(&mut client, "bob", name, 1).await;
    }
    // The inviter's own device must not be added once more.
    let others = Target { excluded_device_ids: vec!["laptop".into()], ..user("bob") };
    let got = reserve(&mut client, "r1", vec![others]).await.unwrap();
    assert_eq!(reserved_devices(&got), ["phone", "tablet"]);
    assert!(got.missing.is_empty());
    assert_eq!(pool(&mut client, "bob", "laptop").await.available, 1);

    // A device that joins later is had by asking again.
    fill(&mut client, "bob", "watch", 1).await;
    let got = reserve(&mut client, "r1", vec![user("bob"), device("bob", "phone")]).await.unwrap();
    assert_eq!(reserved_devices(&got), ["laptop", "phone", "tablet", "watch"]);
    spend(&mut client, "r1", names(&got)).await.unwrap();
}

/// A user with a full phone, an empty tablet, and a laptop of cipher suite 2.
async fn with_mixed_devices(client: &mut Client) {
    fill(client, "bob", "phone", 1).await;
    fill(client, "bob", "tablet", 1).await;
    revoke_all(client, "bob", "tablet").await;
    let laptop = PackageMaker::new("bob", "laptop").cipher_suite(CipherSuite(2));
    upload(client, "bob", "laptop", vec![laptop.make()]).await;
}

const WHY_MIXED: [(&str, &str, ErrorReason); 4] = [
    ("bob", "laptop", ErrorReason::NoCompatiblePackage),
    ("bob", "tablet", ErrorReason::PoolExhausted),
    ("bob", "watch", ErrorReason::UnknownDevice),
    ("nobody", "", ErrorReason::UnknownUser),
];

fn mixed_request(reservation: &str, require_all: bool) -> ReserveKeyPackagesRequest {
    let targets = vec![user("nobody"), user("bob"), device("bob", "watch")];
    ReserveKeyPackagesRequest { require_all, ..reserve_request(reservation, targets) }
}

fn why(missing: &[MissingTarget]) -> Vec<(&str, &str, ErrorReason)> {
    missing.iter().map(|it| (&*it.user_id, &*it.device_id, it.reason())).collect()
}

#[tokio::test]
async fn a_partial_result_tells_for_each_device_why_there_is_nothing() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    with_mixed_devices(&mut client).await;
    let request = mixed_request("r1", false);
    let got = client.reserve_key_packages(request.clone()).await.unwrap().into_inner();
    assert_eq!(reserved_devices(&got), ["phone"]);
    assert_eq!(why(&got.missing), WHY_MIXED);

    // What was missing is tried again, and what is held stays.
    fill(&mut client, "bob", "tablet", 1).await;
    let more = client.reserve_key_packages(request).await.unwrap().into_inner();
    assert_eq!(reserved_devices(&more), ["phone", "tablet"]);
    assert_eq!(packages(&more)[0], packages(&got)[0]);
}

#[tokio::test]
async fn with_require_all_nothing_is_held_if_anything_is_missing() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    with_mixed_devices(&mut client).await;
    let error = client.reserve_key_packages(mixed_request("r1", true)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::PoolExhausted);
    assert_eq!(why(&reserve_details(&error).missing), WHY_MIXED);
    let phone = pool(&mut client, "bob", "phone").await;
    assert_eq!((phone.available, phone.reserved), (1, 0));
    reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
}
