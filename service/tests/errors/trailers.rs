//! Details of errors travel in trailers, of which grpc-java accepts 8 KiB, and tonic and grpc-go 16: they fit, whatever the ids.

use crate::support::{
    Client, calls::*, client, device, fields, package_details, reason, reserve_details,
    reserve_request, spend_request, user,
};
use keypool_proto::v1::{
    self, ErrorReason, KeyPackageName, ReserveKeyPackagesRequest, SpendReservationRequest, Target,
    UnusableReason,
};
use keypool_service::{
    limits::Rate,
    testing::{packages::PackageMaker, server::TestServer},
};
use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};

/// What grpc-java accepts (`GrpcUtil.DEFAULT_MAX_HEADER_LIST_SIZE`).
const LEAST_ACCEPTED: usize = 8 * 1024;

/// The longest id, which is as long in every encoding but that of `grpc-message`: three bytes a character.
fn long(prefix: &str, number: usize) -> String {
    let start = format!("{prefix}{number:03}");
    let filled = format!("{start}{}", "\u{20ac}".repeat((255 - start.len()) / 3));
    format!("{filled:x<0$}", filled.chars().count() + (255 - filled.len()))
}

/// A hundred packages that there are not, of the longest names.
fn strangers() -> Vec<KeyPackageName> {
    let name = |n| KeyPackageName {
        user_id: long("u", n),
        device_id: long("d", n),
        key_package_ref: vec![u8::try_from(n).unwrap(); 64],
    };
    (0..100).map(name).collect()
}

fn spend(packages: Vec<KeyPackageName>) -> SpendReservationRequest {
    SpendReservationRequest { group_id: vec![7; 255], ..spend_request(&long("r", 0), packages) }
}

fn reserve(targets: Vec<Target>) -> ReserveKeyPackagesRequest {
    ReserveKeyPackagesRequest {
        on_behalf_of: long("h", 0),
        ..reserve_request(&long("r", 0), targets)
    }
}

/// Checks that an error fits. A status that the client did not get has no details.
#[track_caller]
fn assert_fits(status: &Status) {
    reason(status);
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    // What else may come along: content-type and date.
    let others = 2 * (32 + 12 + 30);
    // As HTTP/2 counts them (RFC 9113, section 6.5.2).
    let size = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    let size = size.sum::<usize>() + others;
    assert!(size <= LEAST_ACCEPTED, "{size} bytes: {status:?}");
}

#[tokio::test]
async fn a_hundred_packages_of_which_all_fail() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let all: Vec<_> = (0..100).collect();
    let refused = |status: &Status| {
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        assert_fits(status);
        let failures = package_details(status).failures;
        assert!(failures.iter().all(|one| one.reason() == ErrorReason::ReservationNotFound));
        assert_eq!(failures.iter().map(|one| one.index).collect::<Vec<_>>(), all);
    };
    refused(&client.spend_reservation(spend(strangers())).await.unwrap_err());
    let extend = extend_request(&long("r", 0), strangers());
    refused(&client.extend_reservation(extend).await.unwrap_err());
    for unusable in [UnusableReason::Unspecified, UnusableReason::Malformed] {
        let mut release = release_request(&long("r", 0), strangers(), unusable);
        release.on_behalf_of = long("h", 0);
        // What is not held is released.
        client.release_reservation(release).await.unwrap();
    }
}

/// Reserves and spends packages of a hundred devices.
async fn spent(client: &mut Client) -> Vec<KeyPackageName> {
    let mut names = Vec::new();
    for n in 0..100 {
        let (user, device) = (long("u", n), long("d", n));
        let package = PackageMaker::new(&user, &device).make();
        crate::support::upload(client, &user, &device, vec![package]).await;
        let targets = vec![crate::support::device(&user, &device)];
        let request = ReserveKeyPackagesRequest { on_behalf_of: String::new(), ..reserve(targets) };
        let reserved = client.reserve_key_packages(request).await.unwrap().into_inner();
        names.extend(crate::support::names(&reserved));
    }
    let spend = crate::support::spend_request(&long("r", 0), names.clone());
    client.spend_reservation(spend).await.unwrap();
    names
}

#[tokio::test]
async fn a_hundred_packages_that_are_spent_are_neither_released_nor_spent_by_others() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let names = spent(&mut client).await;
    let release = release_request(&long("r", 0), names.clone(), UnusableReason::Unspecified);
    let extend = extend_request(&long("r", 0), names.clone());
    for status in [
        client.release_reservation(release).await.unwrap_err(),
        client.extend_reservation(extend).await.unwrap_err(),
        client.spend_reservation(spend(names)).await.unwrap_err(),
    ] {
        assert_fits(&status);
        assert_eq!(package_details(&status).failures.len(), 100, "{status:?}");
    }
}

#[tokio::test]
async fn a_hundred_devices_of_which_all_are_missing() {
    let server = TestServer::start_with(|config| {
        config.limits.rates.holder_and_device = Rate::new(1, jiff::SignedDuration::from_hours(24));
        config.limits.rates.unknown = Rate::UNLIMITED;
    })
    .await;
    let mut client = client(&server).await;
    let devices = || Vec::from_iter((0..100).map(|n| device(&long("u", n), &long("d", n))));
    let users = Vec::from_iter((0..100).map(|n| user(&long("u", n))));
    for targets in [devices(), users] {
        let status = client.reserve_key_packages(reserve(targets)).await.unwrap_err();
        assert_eq!(reason(&status), ErrorReason::UnknownUser);
        assert_fits(&status);
        assert_all_are_told(&status);
    }

    // One that exists, so that the others are told by their devices; and a limit, which has a name.
    for n in 0..100 {
        let (user, device) = (long("u", n), long("d", n));
        let packages = PackageMaker::new(&user, &device).make_many(2);
        crate::support::upload(&mut client, &user, &device, packages).await;
    }
    client.reserve_key_packages(reserve(devices())).await.unwrap();
    let again = ReserveKeyPackagesRequest { reservation_id: "2".into(), ..reserve(devices()) };
    let status = client.reserve_key_packages(again).await.unwrap_err();
    assert_eq!(reason(&status), ErrorReason::RateLimited);
    assert_fits(&status);
    assert_all_are_told(&status);
    let one = &reserve_details(&status).missing[0];
    assert_eq!((one.limit.as_str(), one.reason()), ("holder_and_device", ErrorReason::RateLimited));
    assert!(one.retry_after.is_some());
}

/// Checks that each of a hundred targets is told by its position.
#[track_caller]
fn assert_all_are_told(status: &Status) {
    let details = reserve_details(status);
    let mut told: Vec<_> = details.missing.iter().filter_map(|one| one.target_index).collect();
    told.sort_unstable();
    assert_eq!((told, details.omitted_count), (Vec::from_iter(0..100), 0));
    assert!(details.missing.iter().all(|one| one.user_id.is_empty() && one.device_id.is_empty()));
}

#[tokio::test]
async fn devices_that_no_target_names_are_counted_if_they_do_not_fit() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let mallory = long("u", 0);
    for n in 0..30 {
        let of = long("d", n);
        let package = PackageMaker::new(&mallory, &of).make();
        crate::support::upload(&mut client, &mallory, &of, vec![package]).await;
    }
    let targets = || vec![device("bob", "phone"), user(&mallory)];
    client.reserve_key_packages(reserve(targets())).await.unwrap();
    let again = ReserveKeyPackagesRequest { reservation_id: "2".into(), ..reserve(targets()) };
    let status = client.reserve_key_packages(again).await.unwrap_err();
    assert_fits(&status);
    let details = reserve_details(&status);
    assert!(details.omitted_count > 0);
    assert_eq!(details.missing.len() + usize::try_from(details.omitted_count).unwrap(), 31);
    let of_mallory = details.missing.iter().filter(|one| one.target_index == Some(1));
    assert!(of_mallory.clone().count() > 10);
    assert!(of_mallory.clone().all(|one| one.device_id.len() == 255), "{details:?}");
}

#[tokio::test]
async fn with_ids_of_usual_length_most_is_told() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let short = (0..100).map(|n| device(&format!("user {n}"), "phone"));
    let status = client.reserve_key_packages(reserve(short.collect())).await.unwrap_err();
    let details = reserve_details(&status);
    assert_eq!((details.missing.len(), details.omitted_count), (100, 0));
    assert_fits(&status);
    // A few of them leave room for the messages.
    let few = (0..10).map(|n| device(&format!("{n:036}"), &format!("{n:036}")));
    let status = client.reserve_key_packages(reserve(few.collect())).await.unwrap_err();
    let missing = reserve_details(&status).missing;
    assert_eq!(missing.len(), 10);
    assert!(missing.iter().all(|one| !one.message.is_empty()));
}

#[tokio::test]
async fn requests_of_which_everything_is_wrong() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let endless = "\u{20ac}".repeat(100);
    let target = || Target {
        user_id: endless.clone(),
        device_id: String::new(),
        excluded_device_ids: vec![endless.clone(); 100],
    };
    let wrong = ReserveKeyPackagesRequest {
        targets: vec![target(); 5],
        ..ReserveKeyPackagesRequest::default()
    };
    let status = client.reserve_key_packages(wrong).await.unwrap_err();
    assert_eq!(fields(&status).len(), 16);
    assert_fits(&status);

    let package = KeyPackageName {
        user_id: endless.clone(),
        device_id: endless.clone(),
        key_package_ref: vec![0; 100],
    };
    let packages = vec![package; 100];
    for status in [
        client.spend_reservation(spend(packages.clone())).await.unwrap_err(),
        client.extend_reservation(extend_request(&endless, packages.clone())).await.unwrap_err(),
        client
            .release_reservation(release_request(&endless, packages, UnusableReason::Unspecified))
            .await
            .unwrap_err(),
    ] {
        fields(&status);
        assert_fits(&status);
    }
}

#[tokio::test]
async fn errors_about_one_device_or_reservation() {
    let server = TestServer::start_with(|config| config.pool.max_devices = 1).await;
    let mut client = client(&server).await;
    let status = v1::GetPoolStatusRequest { user_id: long("u", 0), device_id: long("d", 0) };
    assert_fits(&client.get_pool_status(status).await.unwrap_err());

    let names = {
        let (user, device) = (long("u", 0), long("d", 0));
        let package = PackageMaker::new(&user, &device).make();
        crate::support::upload(&mut client, &user, &device, vec![package]).await;
        let other = long("d", 1);
        let package = PackageMaker::new(&user, &other).make();
        let upload = crate::support::upload_request(&user, &other, vec![package]);
        let status = client.upload_key_packages(upload).await.unwrap_err();
        assert_eq!(reason(&status), ErrorReason::TooManyDevices);
        assert_fits(&status);
        let targets = vec![crate::support::device(&user, &device)];
        let reserved = client.reserve_key_packages(reserve(targets)).await.unwrap().into_inner();
        crate::support::names(&reserved)
    };
    let targets = vec![device(&names[0].user_id, &names[0].device_id)];
    let other = ReserveKeyPackagesRequest { group_id: vec![8; 255], ..reserve(targets) };
    let status = client.reserve_key_packages(other).await.unwrap_err();
    assert_eq!(reason(&status), ErrorReason::ReservationIdReused);
    assert_fits(&status);
    let stranger = SpendReservationRequest { on_behalf_of: long("m", 0), ..spend(names) };
    assert_fits(&client.spend_reservation(stranger).await.unwrap_err());
}
