//! Holds that are extended in the background.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant, SystemTime};

use keypool_client::proto::v1::*;
use keypool_client::{Client, Error, KeepAlive, Reservation, RetryPolicy};
use keypool_service::clock::Clock;
use keypool_service::testing::{packages::PackageMaker, server::TestServer};
use support::*;
use tonic::{Code, Status};

fn names(count: usize) -> Vec<KeyPackageName> {
    (0..count).map(|i| name("bob", &format!("device {i}"), &[1; 32])).collect()
}

fn at(millis: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: millis / 1000,
        nanos: (millis % 1000 * 1_000_000) as i32,
    })
}

/// Holds of a service whose clock stands in 1970.
async fn reserve(fake: &Fake, client: &Client, count: usize) -> Reservation {
    let held = |name| ReservedKeyPackage { hold_expire_time: at(1300), ..package(name, vec![1]) };
    let answer = reserved(names(count).into_iter().map(held).collect());
    fake.reserve.answer(Ok(answer));
    client.reserve(b"group").user("bob").send().await.unwrap()
}

/// Holds that end 300 ms after the answer, by that clock.
fn extended() -> Result<ExtendReservationResponse, Status> {
    let (expire_time, service_time) = (at(2300), at(2000));
    Ok(ExtendReservationResponse { expire_time, service_time, ..Default::default() })
}

/// A failure of an extend, for this reason of the first package.
fn failed(reason: i32) -> Status {
    let details = vec![failures(&[(0, reason)])];
    failure(Code::FailedPrecondition, ErrorReason::ReservationNotFound, details)
}

/// Which packages each extend was about.
fn asked(fake: &Fake) -> Vec<Vec<KeyPackageName>> {
    fake.extend.requests().into_iter().map(|request| request.packages).collect()
}

#[tokio::test]
async fn the_pace_is_that_of_the_holds_whatever_the_clocks_say() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.extend.always(extended());
    let reservation = reserve(&fake, &client, 2).await;

    let _alive = reservation.keep_alive();

    eventually(|| fake.extend.requests().len() >= 3).await;
    let first = &fake.extend.requests()[0];
    assert_eq!(first.packages, names(2));
    assert_eq!(first.ttl, None, "as long as the service holds unless asked");
    reservation.keep();
}

#[tokio::test]
async fn a_reservation_that_was_taken_up_again_is_extended_at_once() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.extend.always(extended());
    let reservation = reserve(&fake, &client, 2).await;
    let resumed = client.resume(reservation.save());
    reservation.keep();

    let _alive = resumed.keep_alive();

    eventually(|| fake.extend.requests().len() >= 2).await;
    resumed.keep();
}

#[tokio::test]
async fn no_hold_is_extended_before_a_third_of_it_is_over() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let answer = || Ok(reserved(vec![package(name("bob", "phone", &[1; 32]), vec![1])]));
    let builder = client.reserve(b"group").user("bob").ttl(Duration::from_secs(60));
    fake.reserve.answer(answer()).answer(answer());
    fake.extend.always(extended());
    let mut new = builder.clone().send().await.unwrap();
    let new_alive = new.keep_alive();
    // Of one that may be from before it is not known when it ends: it sets the pace here.
    let old = builder.reservation_id("from before").send().await.unwrap();
    let old_alive = old.keep_alive();
    eventually(|| asked(&fake).len() >= 3).await;
    let requests = fake.extend.requests();
    assert!(requests.iter().all(|request| request.reservation_id == "from before"));
    drop((new_alive, old_alive));
    old.keep();

    new.extend(Duration::from_secs(1)).await.unwrap();
    let before = asked(&fake).len();
    let _alive = new.keep_alive();
    eventually(|| asked(&fake).len() > before).await;
    new.keep();
}

#[tokio::test]
async fn what_an_ensure_adds_may_be_held_since_before() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.extend.always(extended());
    fake.reserve.always(Ok(reserved(vec![package(name("bob", "phone", &[1; 32]), vec![1])])));
    let builder = client.reserve(b"group").user("bob").ttl(Duration::from_secs(600));
    let mut reservation = builder.send().await.unwrap();
    reservation.ensure().await.unwrap();

    let _alive = reservation.keep_alive();

    eventually(|| !asked(&fake).is_empty()).await;
    reservation.keep();
}

#[tokio::test]
async fn what_is_gone_leaves_and_the_others_stay_held() {
    let gone = [
        ErrorReason::KeyPackageAlreadySpent,
        ErrorReason::KeyPackageExpired,
        ErrorReason::KeyPackageRevoked,
        ErrorReason::ReservationNotFound,
        ErrorReason::ReservationLost,
        ErrorReason::ReservationIdReused,
        ErrorReason::HoldTooLong,
    ];
    let others = [ErrorReason::DatabaseUnavailable as i32, ErrorReason::Internal as i32, 9999];
    let all = gone.into_iter().map(|reason| (reason as i32, true));
    for (reason, leaves) in all.chain(others.map(|reason| (reason, false))) {
        let (fake, client) = Fake::start().await;
        let client = client.connect().await.unwrap();
        let all = names(3);
        let reservation = reserve(&fake, &client, 3).await;
        fake.extend.answer(Err(failed(reason)));
        fake.extend.always(extended());

        let _alive = reservation.keep_alive();

        eventually(|| fake.extend.requests().len() >= 3).await;
        let left = if leaves { &all[1..] } else { &all[..] };
        assert_eq!(asked(&fake)[..3], [all.clone(), left.to_vec(), left.to_vec()], "{reason}");
        reservation.keep();
    }
}

#[tokio::test]
async fn no_failure_ends_it_nor_keeps_other_parts_from_being_extended() {
    let failures = [
        unavailable(),
        failure(Code::Internal, ErrorReason::Internal, vec![]),
        failure(Code::PermissionDenied, ErrorReason::PermissionDenied, vec![]),
        Status::new(Code::Unimplemented, "what?"),
    ];
    for failure in failures {
        let (fake, client) = Fake::start().await;
        let retry = keypool_client::RetryPolicy::never();
        let client = client.retry(retry).connect().await.unwrap();
        fake.extend.always(Err(failure.clone()));
        let reservation = reserve(&fake, &client, 250).await;

        let _alive: KeepAlive = reservation.keep_alive();

        let all = names(250);
        for part in all.chunks(100) {
            eventually(|| asked(&fake).iter().filter(|asked| *asked == part).count() >= 2).await;
        }
        fake.extend.always(extended());
        let before = asked(&fake).len();
        eventually(|| asked(&fake).len() >= before + 6).await;
        reservation.keep();
    }
}

#[tokio::test]
async fn a_part_that_hangs_keeps_no_other_part_waiting() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let reservation = reserve(&fake, &client, 150).await;

    let _alive = reservation.keep_alive();

    eventually(|| fake.extend.open() == 2).await;
    assert_ne!(asked(&fake)[0], asked(&fake)[1]);
    reservation.keep();
}

#[tokio::test]
async fn a_service_that_holds_for_a_second_keeps_what_is_left_of_a_reservation() {
    let server = TestServer::start_with(|config| {
        config.pool.default_hold = jiff::SignedDuration::from_secs(1);
    })
    .await;
    let client = Client::builder(server.endpoint()).connect().await.unwrap();
    for device_id in ["laptop", "phone", "tablet"] {
        let packages = vec![PackageMaker::new("bob", device_id).make()];
        client.upload("bob", device_id, packages).await.unwrap();
    }
    let mut reservation = client.reserve(b"group").user("bob").send().await.unwrap();
    let ends: Vec<_> = reservation.packages().iter().map(|one| one.hold_expires).collect();
    let names: Vec<_> = reservation.packages().iter().map(|one| one.name.clone()).collect();

    let _alive = reservation.keep_alive();
    reservation.release_unusable(&names[0], UnusableReason::Unspecified).await.unwrap();
    reservation.spend_packages(&names[1..2]).await.unwrap();

    let later = ends[2].unwrap() + Duration::from_secs(1);
    eventually_async(async || {
        let other = client.reserve(b"other group").device("bob", "tablet").send().await;
        assert!(matches!(other, Err(Error::PoolExhausted(_))), "{other:?}");
        SystemTime::from(server.clock().now()) > later
    })
    .await;
    reservation.keep();
    server.stop().await;
}

#[tokio::test]
async fn a_rate_that_refuses_an_extend_is_waited_out_and_all_stays_held() {
    let (fake, client) = Fake::start().await;
    let client = client.retry(RetryPolicy::never()).connect().await.unwrap();
    let reservation = reserve(&fake, &client, 2).await;
    let asked_to_wait = Duration::from_secs(2);
    let details = vec![retry_info(asked_to_wait)];
    let limited = failure(Code::ResourceExhausted, ErrorReason::RateLimited, details);
    fake.extend.answer(Err(limited)).always(extended());

    let _alive = reservation.keep_alive();

    eventually(|| !asked(&fake).is_empty()).await;
    let first = Instant::now();
    eventually(|| asked(&fake).len() >= 2).await;
    assert!(first.elapsed() >= asked_to_wait - Duration::from_millis(50), "as long as it asks");
    assert_eq!(asked(&fake)[1], names(2));
    reservation.keep();
}
