//! Reasons why a reservation can't do what it wants with its packages.

use crate::{
    Documented, hex,
    support::{
        Client, calls::*, client, device, fill, package_details, reserve_request, spend,
        spend_request, upload,
    },
};
use jiff::SignedDuration;
use keypool_proto::v1::{ErrorReason, ReservedKeyPackage, SpendReservationRequest, UnusableReason};
use keypool_service::testing::server::TestServer;
use tonic::{Code, Status};

/// The status of a reason about bob's phone and the reservation r1.
struct About<'a>(Code, ErrorReason, &'a str);

impl About<'_> {
    #[track_caller]
    fn assert(&self, status: &Status, package: &ReservedKeyPackage) {
        let &Self(code, reason, message) = self;
        let metadata = [
            ("reservation_id", "r1"),
            ("user_id", "bob"),
            ("device_id", "phone"),
            ("key_package_ref", &hex(&reference(package))),
        ];
        Documented { code, reason, message, metadata: &metadata }.assert(status);
        let failures = package_details(status).failures;
        assert_eq!(failures.len(), 1);
        assert_eq!((failures[0].index, failures[0].reason()), (0, reason));
    }
}

/// A service with a package of bob's phone, held by r1.
async fn held() -> (TestServer, Client, ReservedKeyPackage) {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let package = ending_in("bob", "phone", SignedDuration::from_hours(12)).make();
    upload(&mut client, "bob", "phone", vec![package]).await;
    let package = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    (server, client, package)
}

/// Lets r1's hold lapse, and another reservation take the package.
async fn taken_over(server: &TestServer, client: &mut Client) {
    server.clock().advance(SignedDuration::from_mins(10));
    reserve_one(client, "r2", "bob", "phone").await.unwrap();
}

#[tokio::test]
async fn key_package_already_spent() {
    let (server, mut client, package) = held().await;
    taken_over(&server, &mut client).await;
    spend(&mut client, "r2", named(&package)).await.unwrap();
    let documented =
        About(Code::AlreadyExists, ErrorReason::KeyPackageAlreadySpent, "KeyPackage already spent");
    let error = spend(&mut client, "r1", named(&package)).await.unwrap_err();
    documented.assert(&error, &package);
    let error = extend(&mut client, "r1", named(&package)).await.unwrap_err();
    documented.assert(&error, &package);
}

#[tokio::test]
async fn key_package_already_spent_by_the_reservation_that_releases_it() {
    let (_server, mut client, package) = held().await;
    spend(&mut client, "r1", named(&package)).await.unwrap();
    let error = release(&mut client, "r1", named(&package)).await.unwrap_err();
    About(Code::AlreadyExists, ErrorReason::KeyPackageAlreadySpent, "KeyPackage already spent")
        .assert(&error, &package);
}

#[tokio::test]
async fn key_package_expired() {
    let (server, mut client, package) = held().await;
    server.clock().advance(SignedDuration::from_hours(13));
    let error = spend(&mut client, "r1", named(&package)).await.unwrap_err();
    About(Code::FailedPrecondition, ErrorReason::KeyPackageExpired, "KeyPackage has expired")
        .assert(&error, &package);
}

#[tokio::test]
async fn key_package_revoked() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let package = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    revoke_all(&mut client, "bob", "phone").await;
    server.clock().advance(SignedDuration::from_hours(25));
    let error = spend(&mut client, "r1", named(&package)).await.unwrap_err();
    About(Code::FailedPrecondition, ErrorReason::KeyPackageRevoked, "KeyPackage has been revoked")
        .assert(&error, &package);
}

#[tokio::test]
async fn reservation_not_found() {
    let (_server, mut client, package) = held().await;
    release(&mut client, "r1", named(&package)).await.unwrap();
    let error = spend(&mut client, "r1", named(&package)).await.unwrap_err();
    About(Code::NotFound, ErrorReason::ReservationNotFound, "KeyPackage not found or expired")
        .assert(&error, &package);
}

#[tokio::test]
async fn reservation_lost() {
    let (server, mut client, package) = held().await;
    taken_over(&server, &mut client).await;
    let error = spend(&mut client, "r1", named(&package)).await.unwrap_err();
    About(
        Code::Aborted,
        ErrorReason::ReservationLost,
        "Reservation has expired and its KeyPackage went to another",
    )
    .assert(&error, &package);
}

#[tokio::test]
async fn reservation_id_reused() {
    let (_server, mut client, package) = held().await;
    let mut request = reserve_request("r1", vec![device("bob", "phone")]);
    request.group_id = b"another".into();
    let error = client.reserve_key_packages(request).await.unwrap_err();
    Documented {
        code: Code::AlreadyExists,
        reason: ErrorReason::ReservationIdReused,
        message: "The reservation id is in use for another group",
        metadata: &[("reservation_id", "r1")],
    }
    .assert(&error);

    let request = SpendReservationRequest {
        group_id: b"another".into(),
        ..spend_request("r1", named(&package))
    };
    let error = client.spend_reservation(request).await.unwrap_err();
    About(
        Code::AlreadyExists,
        ErrorReason::ReservationIdReused,
        "The reservation was made for another group",
    )
    .assert(&error, &package);
}

#[tokio::test]
async fn a_reservation_of_another_holder() {
    let (_server, mut client, package) = held().await;
    let documented = About(
        Code::NotFound,
        ErrorReason::ReservationNotFound,
        "KeyPackage not found or expired: the reservation does not hold it",
    );
    let mut request = spend_request("r1", named(&package));
    request.on_behalf_of = "mallory".into();
    documented.assert(&client.spend_reservation(request).await.unwrap_err(), &package);
    let mut request = extend_request("r1", named(&package));
    request.on_behalf_of = "mallory".into();
    documented.assert(&client.extend_reservation(request).await.unwrap_err(), &package);
    for unusable in [UnusableReason::Unspecified, UnusableReason::Other] {
        let mut request = release_request("r1", named(&package), unusable);
        request.on_behalf_of = "mallory".into();
        client.release_reservation(request).await.unwrap();
    }
    spend(&mut client, "r1", named(&package)).await.unwrap();
}

#[tokio::test]
async fn one_lost_package_fails_the_call_and_the_details_tell_which() {
    let (_server, mut client, package) = held().await;
    fill(&mut client, "bob", "tablet", 1).await;
    let good = reserve_one(&mut client, "r1", "bob", "tablet").await.unwrap();
    release(&mut client, "r1", named(&package)).await.unwrap();

    let both = [named(&good), named(&package)].concat();
    let error = spend(&mut client, "r1", both).await.unwrap_err();
    let failures = package_details(&error).failures;
    let failed: Vec<_> = failures.iter().map(|one| (one.index, one.reason())).collect();
    assert_eq!(failed, [(1, ErrorReason::ReservationNotFound)]);
    let again = reserve_one(&mut client, "r1", "bob", "tablet").await.unwrap();
    assert!(again.spent, "what could be spent stays so");
}
