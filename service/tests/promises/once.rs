//! Promise 1: a one-time package belongs to one reservation at most, and is spent once.

use crate::support::{
    Client, calls::*, client, fill, forge::with_init_key_of, pool, reason, spend, upload,
    upload_request,
};
use keypool_proto::v1::{ErrorReason, RejectionReason};
use keypool_service::testing::{packages::PackageMaker, server::TestServer};

/// Uploads again, and returns what each package is rejected for.
async fn rejected(
    client: &mut Client,
    device: &str,
    packages: Vec<Vec<u8>>,
) -> Vec<RejectionReason> {
    let request = upload_request("bob", device, packages);
    rejections(&client.upload_key_packages(request).await.unwrap().into_inner())
}

async fn spend_one(client: &mut Client, reservation: &str) {
    let package = reserve_one(client, reservation, "bob", "phone").await.unwrap();
    spend(client, reservation, named(&package)).await.unwrap();
}

async fn assert_exhausted(client: &mut Client, reservation: &str) {
    let error = reserve_one(client, reservation, "bob", "phone").await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::PoolExhausted);
}

#[tokio::test]
async fn a_held_package_is_handed_to_nobody_else() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let held = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    assert_exhausted(&mut client, "r2").await;

    let error = spend(&mut client, "r2", named(&held)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::ReservationLost);
    spend(&mut client, "r1", named(&held)).await.unwrap();
}

#[tokio::test]
async fn a_spent_package_is_never_handed_out_again() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 2).await;
    let spent = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    spend(&mut client, "r1", named(&spent)).await.unwrap();
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.available, pool.spent), (1, 1));

    server.clock().advance(jiff::SignedDuration::from_hours(1)); // its hold has long ended
    let other = reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
    assert_ne!(reference(&other), reference(&spent));
    assert_exhausted(&mut client, "r3").await;
    let error = spend(&mut client, "r3", named(&spent)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::KeyPackageAlreadySpent);
}

#[tokio::test]
async fn a_spent_package_can_not_be_uploaded_again() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let package = PackageMaker::new("bob", "phone").make();
    upload(&mut client, "bob", "phone", vec![package.clone()]).await;
    spend_one(&mut client, "r1").await;

    let again = rejected(&mut client, "phone", vec![package.clone()]).await;
    assert_eq!(again, [RejectionReason::AlreadySpent]);
    assert_exhausted(&mut client, "r2").await;

    // Nor when nothing is left of the hold, and the sweeper has passed.
    server.clock().advance(jiff::SignedDuration::from_hours(10 * 24));
    server.server().pool().sweep().await.unwrap();
    let again = rejected(&mut client, "phone", vec![package]).await;
    assert_eq!(again, [RejectionReason::AlreadySpent]);
}

#[tokio::test]
async fn a_spent_init_key_can_not_come_back_under_another_ref() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let maker = PackageMaker::new("bob", "phone");
    let package = maker.make();
    upload(&mut client, "bob", "phone", vec![package.clone()]).await;
    spend_one(&mut client, "r1").await;

    let one_time = with_init_key_of(&maker, &package);
    let last_resort = with_init_key_of(&maker.last_resort(), &package);
    for forged in [one_time, last_resort] {
        let again = rejected(&mut client, "phone", vec![forged]).await;
        assert_eq!(again, [RejectionReason::InitKeyReused]);
    }
    assert_exhausted(&mut client, "r2").await;
}

#[tokio::test]
async fn two_packages_with_one_init_key_are_not_both_accepted() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let maker = PackageMaker::new("bob", "phone");
    let package = maker.make();
    let twin = with_init_key_of(&maker, &package);
    let together = rejected(&mut client, "phone", vec![package, twin]).await;
    assert_eq!(together, [RejectionReason::Unspecified, RejectionReason::InitKeyReused]);
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 1);
}

#[tokio::test]
async fn a_spent_package_can_not_come_back_under_another_device() {
    // Where the credential does not name the device, nothing but the pool's memory stands in the way.
    let server = TestServer::start_with(|config| {
        config.validation.credential_identity = "{user_id}".into();
    })
    .await;
    let mut client = client(&server).await;
    let maker = PackageMaker::for_identity("bob");
    let package = maker.make();
    upload(&mut client, "bob", "phone", vec![package.clone()]).await;
    spend_one(&mut client, "r1").await;

    let twin = with_init_key_of(&maker, &package);
    let elsewhere = rejected(&mut client, "tablet", vec![package, twin]).await;
    let reasons = [RejectionReason::BelongsToOtherDevice, RejectionReason::InitKeyReused];
    assert_eq!(elsewhere, reasons);
    reserve_one(&mut client, "r2", "bob", "tablet").await.unwrap_err();
}

#[tokio::test]
async fn a_spent_package_stays_spent_when_the_service_restarts() {
    let server = TestServer::start().await;
    let mut before = client(&server).await;
    let package = PackageMaker::new("bob", "phone").make();
    upload(&mut before, "bob", "phone", vec![package.clone()]).await;
    spend_one(&mut before, "r1").await;

    let restarted = server.replica().await;
    server.stop().await;
    let mut after = client(&restarted).await;
    assert_exhausted(&mut after, "r2").await;
    let again = rejected(&mut after, "phone", vec![package]).await;
    assert_eq!(again, [RejectionReason::AlreadySpent]);
}
