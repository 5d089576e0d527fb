//! Promise 4: nothing past its lifetime, revoked, or of another cipher suite is handed out.

use crate::support::{
    Client, calls::*, client, device, fill, pool, reason, reserve_request, spend, upload,
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    ErrorReason, KeyPackageRefs, ReserveKeyPackagesRequest, ReservedKeyPackage,
    revoke_key_packages_request::Selector,
};
use keypool_service::{
    testing::{packages::PackageMaker, server::TestServer},
    types::CipherSuite,
};

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// Uploads a package that ends so long after now.
async fn fill_ending_in(client: &mut Client, lifetime: SignedDuration) -> Vec<u8> {
    let package = ending_in("bob", "phone", lifetime).make();
    refs(&upload(client, "bob", "phone", vec![package]).await).remove(0)
}

async fn reserve_phone(
    client: &mut Client,
    reservation: &str,
    change: impl FnOnce(&mut ReserveKeyPackagesRequest),
) -> Result<ReservedKeyPackage, ErrorReason> {
    let mut request = reserve_request(reservation, vec![device("bob", "phone")]);
    change(&mut request);
    let response = client.reserve_key_packages(request).await.map_err(|error| reason(&error))?;
    Ok(packages(&response.into_inner())[0].clone())
}

fn lasting(days: i64) -> impl FnOnce(&mut ReserveKeyPackagesRequest) {
    move |request| {
        let seconds = hours(24 * days).as_secs();
        request.min_remaining_lifetime = Some(prost_types::Duration { seconds, nanos: 0 });
    }
}

fn of_suites(suites: &[u32]) -> impl FnOnce(&mut ReserveKeyPackagesRequest) {
    |request| request.cipher_suites = suites.to_vec()
}

#[tokio::test]
async fn an_expired_package_is_not_handed_out() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_ending_in(&mut client, hours(1)).await;
    server.clock().advance(hours(2));
    let got = reserve_phone(&mut client, "r1", |_| {}).await;
    assert_eq!(got, Err(ErrorReason::PoolExhausted));
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.available, pool.expired), (0, 1));
}

#[tokio::test]
async fn a_package_about_to_expire_is_not_handed_out() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_ending_in(&mut client, hours(1)).await;
    server.clock().advance(SignedDuration::from_mins(55));
    let got = reserve_phone(&mut client, "r1", |_| {}).await;
    assert_eq!(got, Err(ErrorReason::PoolExhausted));
}

#[tokio::test]
async fn a_package_lives_as_long_as_the_caller_needs() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_ending_in(&mut client, hours(24)).await;
    let long = fill_ending_in(&mut client, hours(24 * 10)).await;
    let got = reserve_phone(&mut client, "r1", lasting(2)).await.unwrap();
    assert_eq!(reference(&got), long);
    let got = reserve_phone(&mut client, "r2", lasting(2)).await;
    assert_eq!(got, Err(ErrorReason::NoCompatiblePackage));
}

#[tokio::test]
async fn a_hold_does_not_outlive_its_package() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_ending_in(&mut client, hours(1)).await;
    let held = reserve_phone(&mut client, "r1", |_| {}).await.unwrap();
    server.clock().advance(hours(2));

    let error = spend(&mut client, "r1", named(&held)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::KeyPackageExpired);
    let error = extend(&mut client, "r1", named(&held)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::KeyPackageExpired);
    let again = reserve_phone(&mut client, "r1", |_| {}).await;
    assert_eq!(again, Err(ErrorReason::PoolExhausted));
    assert_eq!(pool(&mut client, "bob", "phone").await.expired, 1);
}

#[tokio::test]
async fn an_expired_last_resort_is_neither_handed_out_nor_spent() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let package = ending_in("bob", "phone", hours(1)).last_resort().make();
    upload(&mut client, "bob", "phone", vec![package]).await;
    let held = reserve_phone(&mut client, "r1", |_| {}).await.unwrap();
    server.clock().advance(hours(2));

    let got = reserve_phone(&mut client, "r2", |_| {}).await;
    assert_eq!(got, Err(ErrorReason::PoolExhausted));
    let again = reserve_phone(&mut client, "r1", |_| {}).await;
    assert_eq!(again, Err(ErrorReason::PoolExhausted));
    let error = spend(&mut client, "r1", named(&held)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::KeyPackageExpired);
    assert_eq!(pool(&mut client, "bob", "phone").await.last_resort, None);
}

#[tokio::test]
async fn a_revoked_package_is_not_handed_out() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let mut both = refs(&fill(&mut client, "bob", "phone", 2).await);
    let selector = Selector::Refs(KeyPackageRefs { key_package_refs: vec![both.remove(0)] });
    client.revoke_key_packages(revoke_request("bob", "phone", selector)).await.unwrap();

    let got = reserve_phone(&mut client, "r1", |_| {}).await.unwrap();
    assert_eq!(reference(&got), both[0]);
    let got = reserve_phone(&mut client, "r2", |_| {}).await;
    assert_eq!(got, Err(ErrorReason::PoolExhausted));
}

#[tokio::test]
async fn a_revoked_last_resort_is_not_handed_out() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let package = PackageMaker::new("bob", "phone").last_resort().make();
    upload(&mut client, "bob", "phone", vec![package]).await;
    assert_eq!(revoke_all(&mut client, "bob", "phone").await, 1);
    let got = reserve_phone(&mut client, "r1", |_| {}).await;
    assert_eq!(got, Err(ErrorReason::PoolExhausted));
}

#[tokio::test]
async fn a_package_has_one_of_the_wanted_cipher_suites() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    for suite in [2, 3] {
        let maker = PackageMaker::new("bob", "phone").cipher_suite(CipherSuite(suite));
        upload(&mut client, "bob", "phone", vec![maker.make()]).await;
    }
    let got = reserve_phone(&mut client, "r1", of_suites(&[1])).await;
    assert_eq!(got, Err(ErrorReason::NoCompatiblePackage));
    let got = reserve_phone(&mut client, "r2", of_suites(&[1, 2])).await.unwrap();
    assert_eq!(got.cipher_suite, 2);
    let got = reserve_phone(&mut client, "r3", of_suites(&[2])).await;
    assert_eq!(got, Err(ErrorReason::PoolExhausted));
    let got = reserve_phone(&mut client, "r4", of_suites(&[])).await.unwrap();
    assert_eq!(got.cipher_suite, 3);
    // Nor is what the reservation holds already, if the repetition wants another.
    let got = reserve_phone(&mut client, "r4", of_suites(&[2])).await;
    assert_eq!(got, Err(ErrorReason::NoCompatiblePackage));
}

#[tokio::test]
async fn the_last_resort_has_one_of_the_wanted_cipher_suites() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let maker = PackageMaker::new("bob", "phone").cipher_suite(CipherSuite(3)).last_resort();
    upload(&mut client, "bob", "phone", vec![maker.make()]).await;
    let got = reserve_phone(&mut client, "r1", of_suites(&[1])).await;
    assert_eq!(got, Err(ErrorReason::NoCompatiblePackage));
    let got = reserve_phone(&mut client, "r2", of_suites(&[1, 3])).await.unwrap();
    assert!(got.last_resort);
}
