//! What becomes of a reservation, against a service with scripted answers.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use keypool_client::proto::v1::*;
use keypool_client::{Client, Error, Reservation, Target};
use support::*;
use tonic::{Code, Status};

fn names(count: usize) -> Vec<KeyPackageName> {
    (0..count).map(|i| name("bob", &format!("device {i}"), &[1; 32])).collect()
}

async fn reserve(fake: &Fake, client: &Client, count: usize) -> Reservation {
    let packages = names(count).into_iter().map(|name| package(name, vec![1])).collect();
    fake.reserve.answer(Ok(reserved(packages)));
    client.reserve(b"group").user("bob").send().await.unwrap()
}

#[tokio::test]
async fn dropped_without_a_spend_it_is_released() {
    let (fake, client) = Fake::start().await;
    let client = client.on_behalf_of("alice").connect().await.unwrap();
    fake.release.answer(Ok(ReleaseReservationResponse::default()));

    let reservation = reserve(&fake, &client, 2).await;
    let id = reservation.id().to_owned();
    drop(reservation);

    eventually(|| fake.release.requests().len() == 1).await;
    let release = &fake.release.requests()[0];
    assert_eq!(release.reservation_id, id);
    assert_eq!(release.on_behalf_of, "alice");
    let released: Vec<_> = release.packages.iter().filter_map(|p| p.name.clone()).collect();
    assert_eq!(released, names(2));
}

#[tokio::test]
async fn spent_kept_or_taken_apart_it_is_not_released() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.spend.answer(Ok(SpendReservationResponse::default()));

    let mut reservation = reserve(&fake, &client, 1).await;
    reservation.spend().await.unwrap();
    assert!(reservation.packages()[0].spent);
    drop(reservation);
    reserve(&fake, &client, 1).await.keep();
    assert_eq!(reserve(&fake, &client, 1).await.into_parts().packages.len(), 1);

    fake.release.answer(Ok(ReleaseReservationResponse::default()));
    let last = reserve(&fake, &client, 1).await;
    let id = last.id().to_owned();
    drop(last);
    eventually(|| !fake.release.requests().is_empty()).await;
    let released: Vec<_> =
        fake.release.requests().into_iter().map(|release| release.reservation_id).collect();
    assert_eq!(released, [id]);
}

#[tokio::test]
async fn a_failed_spend_tells_what_is_spent() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let lost = ErrorReason::ReservationLost;
    fake.spend.answer(Err(one_lost(1)));

    let mut reservation = reserve(&fake, &client, 2).await;
    let error = reservation.spend().await.unwrap_err();

    assert!(matches!(error, Error::ReservationLost(_)), "{error:?}");
    assert_eq!(error.outcomes()[1].reason, Some(lost));
    let spent: Vec<_> = reservation.packages().iter().map(|package| package.spent).collect();
    assert_eq!(spent, [true, false]);
}

#[tokio::test]
async fn many_packages_take_several_calls() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let times = [200, 100, 300];
    for seconds in times {
        let expire_time = Some(prost_types::Timestamp { seconds, nanos: 0 });
        let extended = ExtendReservationResponse { expire_time, ..Default::default() };
        fake.extend.answer(Ok(extended));
        fake.spend.answer(Ok(SpendReservationResponse::default()));
    }

    let mut reservation = reserve(&fake, &client, 250).await;
    let end = reservation.extend(Duration::from_secs(60)).await.unwrap();
    reservation.spend().await.unwrap();

    assert_eq!(end, Some(std::time::UNIX_EPOCH + Duration::from_secs(100)));
    let sizes: Vec<_> = fake.spend.requests().iter().map(|r| r.packages.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert!(reservation.packages().iter().all(|package| package.spent));
    assert_eq!(reservation.extend(Duration::from_secs(60)).await.unwrap(), None);
}

#[tokio::test]
async fn an_unusable_package_leaves_the_reservation() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.release.answer(Ok(ReleaseReservationResponse::default()));
    let mut reservation = reserve(&fake, &client, 2).await;

    let reason = UnusableReason::WrongIdentity;
    reservation.release_unusable(&names(2)[0], reason).await.unwrap();

    assert_eq!(reservation.packages().len(), 1);
    assert_eq!(fake.release.requests()[0].packages[0].unusable_reason(), reason);
    reservation.keep();
}

#[tokio::test]
async fn more_targets_than_a_call_takes_are_one_reservation() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let held = |names: &[KeyPackageName]| {
        reserved(names.iter().map(|name| package(name.clone(), vec![1])).collect())
    };
    let names = names(150);
    let missing = vec![missing("bob", "device 249")];
    let missing = detail(
        "keypool.v1.ReserveErrorDetails",
        &ReserveErrorDetails { missing, omitted_count: 0 },
    );
    let nothing = failure(Code::FailedPrecondition, ErrorReason::PoolExhausted, vec![missing]);
    let (first, mut second) = (held(&names[..100]), held(&names[100..]));
    second.missing = (150..200).map(|i| support::missing("bob", &format!("device {i}"))).collect();
    fake.reserve.answer(Ok(first)).answer(Ok(second)).answer(Err(nothing));
    fake.spend.answer(Ok(SpendReservationResponse::default()));
    fake.spend.answer(Ok(SpendReservationResponse::default()));

    let devices = (0..250).map(|i| Target::device("bob", format!("device {i}")));
    let mut reservation = client.reserve(b"group").targets(devices).send().await.unwrap();
    reservation.spend().await.unwrap();

    let requests = fake.reserve.requests();
    let counts: Vec<_> = requests.iter().map(|request| request.targets.len()).collect();
    assert_eq!(counts, [100, 100, 50]);
    assert!(requests.iter().all(|r| r.reservation_id == requests[0].reservation_id));
    assert_eq!(reservation.packages().len(), 150);
    let mut missing: Vec<_> =
        reservation.missing().iter().filter_map(|one| one.device_id.clone()).collect();
    missing.sort();
    // Nothing was reserved by the last call, whatever its error lists.
    let unreserved: Vec<_> = (150..250).map(|i| format!("device {i}")).collect();
    assert_eq!(missing, unreserved);
    let spent: Vec<_> = fake.spend.requests().into_iter().flat_map(|r| r.packages).collect();
    assert_eq!(spent, names);
}

#[tokio::test]
async fn what_needs_all_gives_back_what_other_calls_reserved() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let names = names(100);
    let held = names.iter().map(|name| package(name.clone(), vec![1])).collect();
    let nothing = failure(Code::FailedPrecondition, ErrorReason::PoolExhausted, vec![]);
    fake.reserve.answer(Ok(reserved(held))).answer(Err(nothing));
    fake.release.answer(Ok(ReleaseReservationResponse::default()));

    let devices = (0..101).map(|i| Target::device("bob", format!("device {i}")));
    let error = client.reserve(b"group").targets(devices).require_all().send().await.unwrap_err();

    assert!(matches!(error, Error::PoolExhausted(_)), "{error:?}");
    assert_eq!(fake.release.requests()[0].packages.len(), 100);
}

/// A failure of a call of which the package with this number is lost.
fn one_lost(index: u32) -> Status {
    let lost = ErrorReason::ReservationLost;
    failure(Code::Aborted, lost, vec![failures(&[(index, lost.into())])])
}

/// Checks that an error tells of all the packages but those without an answer.
fn check_outcomes(error: &Error, known: &[KeyPackageName], lost: &KeyPackageName) {
    assert!(matches!(error, Error::ReservationLost(_)), "{error:?}");
    let told: Vec<_> = error.outcomes().iter().map(|outcome| outcome.name.clone()).collect();
    assert_eq!(told, known);
    let failed = error.outcomes().iter().filter(|outcome| outcome.reason.is_some());
    assert_eq!(failed.map(|outcome| &outcome.name).collect::<Vec<_>>(), [lost]);
}

fn sizes<T>(requests: &[T], size: impl Fn(&T) -> usize) -> Vec<usize> {
    requests.iter().map(size).collect()
}

#[tokio::test]
async fn a_failed_call_keeps_no_other_package_from_being_spent() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let names = names(350);
    fake.spend.answer(Err(failure(Code::Internal, ErrorReason::Internal, vec![])));
    fake.spend.answer(Err(one_lost(7)));
    fake.spend.answer(Ok(SpendReservationResponse::default()));
    fake.spend.answer(Ok(SpendReservationResponse::default()));

    let mut reservation = reserve(&fake, &client, 350).await;
    let error = reservation.spend().await.unwrap_err();

    assert_eq!(sizes(&fake.spend.requests(), |r| r.packages.len()), [100, 100, 100, 50]);
    check_outcomes(&error, &names[100..], &names[107]);
    let unspent = reservation.packages().iter().filter(|package| !package.spent);
    assert_eq!(unspent.count(), 101);
}

#[tokio::test]
async fn a_failed_call_keeps_no_other_hold_from_being_extended() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let names = names(250);
    let until = |seconds| {
        let expire_time = Some(prost_types::Timestamp { seconds, nanos: 0 });
        Ok(ExtendReservationResponse { expire_time, ..Default::default() })
    };
    fake.extend.answer(Err(one_lost(7))).answer(until(4_000_000_001));
    fake.extend.answer(Err(failure(Code::Internal, ErrorReason::Internal, vec![])));
    fake.extend.answer(until(4_000_000_003));

    let mut reservation = reserve(&fake, &client, 250).await;
    let before = reservation.packages()[0].hold_expires;
    let error = reservation.extend(Duration::from_secs(60)).await.unwrap_err();

    assert_eq!(sizes(&fake.extend.requests(), |r| r.packages.len()), [100, 99, 100, 50]);
    let known = [&names[..100], &names[200..]].concat();
    check_outcomes(&error, &known, &names[7]);
    let at = |seconds| Some(std::time::UNIX_EPOCH + Duration::from_secs(seconds));
    let ends: Vec<_> = [0, 7, 100, 200].map(|n| reservation.packages()[n].hold_expires).into();
    assert_eq!(ends, [at(4_000_000_001), before, before, at(4_000_000_003)]);
    reservation.keep();
}

#[tokio::test]
async fn a_failed_call_keeps_no_other_package_from_being_given_back() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.release.answer(Err(one_lost(7)));
    fake.release.answer(Err(failure(Code::Internal, ErrorReason::Internal, vec![])));
    fake.release.answer(Ok(ReleaseReservationResponse::default()));

    let error = reserve(&fake, &client, 250).await.release().await.unwrap_err();

    assert_eq!(sizes(&fake.release.requests(), |r| r.packages.len()), [100, 100, 50]);
    assert_eq!(error.outcomes().len(), 150);
}

#[tokio::test]
async fn what_is_missing_may_be_told_by_positions() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let told = |target_index, device_id: &str, reason: ErrorReason| MissingTarget {
        target_index: Some(target_index),
        device_id: device_id.into(),
        reason: reason.into(),
        ..Default::default()
    };
    let exhausted = ErrorReason::PoolExhausted;
    let answer = |missing| {
        let details = ReserveErrorDetails { missing, omitted_count: 0 };
        let details = vec![detail("keypool.v1.ReserveErrorDetails", &details)];
        Err(failure(Code::FailedPrecondition, exhausted, details))
    };
    fake.reserve.answer(answer(vec![
        told(1, "", exhausted),
        told(0, "tablet", exhausted),
        told(2, "", ErrorReason::UnknownUser),
    ]));
    fake.reserve.answer(answer(vec![told(3, "", exhausted)]));
    let reserve = || {
        let reserve = client.reserve(b"group").user("bob").device("carol", "phone");
        reserve.device("dave", "phone").send()
    };

    let error = reserve().await.unwrap_err();
    let missing = error.missing().iter().map(|one| (&*one.user_id, one.device_id.as_deref()));
    let expected = [("carol", Some("phone")), ("bob", Some("tablet")), ("dave", None)];
    assert_eq!(missing.collect::<Vec<_>>(), expected);

    let error = reserve().await.unwrap_err();
    assert!(matches!(error, Error::WrongAnswer(_)), "{error:?}");
}

fn held(names: &[KeyPackageName]) -> ReserveKeyPackagesResponse {
    reserved(names.iter().map(|name| package(name.clone(), vec![1])).collect())
}

fn devices(count: usize) -> impl Iterator<Item = Target> {
    (0..count).map(|i| Target::device("bob", format!("device {i}")))
}

fn released(fake: &Fake) -> Vec<KeyPackageName> {
    let packages = fake.release.requests().into_iter().flat_map(|release| release.packages);
    packages.filter_map(|package| package.name).collect()
}

/// The answer for a hundred devices of which the last ten have nothing.
fn first_ninety() -> ReserveKeyPackagesResponse {
    let missing = (90..100).map(|i| missing("bob", &format!("device {i}"))).collect();
    ReserveKeyPackagesResponse { missing, ..held(&names(90)) }
}

/// A reservation of 150 targets, of which the last ten of the first call have nothing yet.
async fn incomplete(fake: &Fake, client: &Client) -> Reservation {
    let names = names(150);
    fake.reserve.answer(Ok(first_ninety())).answer(Ok(held(&names[100..])));
    client.reserve(b"group").targets(devices(150)).send().await.unwrap()
}

#[tokio::test]
async fn an_ensure_that_fails_gives_back_only_what_it_added() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let names = names(150);
    let mut reservation = incomplete(&fake, &client).await;
    let (packages, missing) = (reservation.packages().to_vec(), reservation.missing().to_vec());
    fake.release.answer(Ok(ReleaseReservationResponse::default()));
    fake.reserve.answer(Ok(held(&names[..100])));
    fake.reserve.answer(Err(failure(Code::Internal, ErrorReason::Internal, vec![])));

    let error = reservation.ensure().await.unwrap_err();

    assert!(matches!(error, Error::Internal(_)), "{error:?}");
    assert_eq!(released(&fake), names[90..100]);
    assert_eq!((reservation.packages(), reservation.missing()), (&packages[..], &missing[..]));

    // With nothing added there is nothing to give back.
    fake.reserve.answer(Ok(first_ninety()));
    fake.reserve.answer(Err(failure(Code::Internal, ErrorReason::Internal, vec![])));
    reservation.ensure().await.unwrap_err();
    assert_eq!(fake.release.requests().len(), 1);
    reservation.keep();
}

#[tokio::test]
async fn an_ensure_that_needs_all_fails_as_the_service_would() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.reserve.answer(Ok(held(&names(2))));
    fake.release.answer(Ok(ReleaseReservationResponse::default()));
    let builder = client.reserve(b"group").targets(devices(2)).require_all();
    let mut reservation = builder.send().await.unwrap();
    reservation.release_unusable(&names(2)[1], UnusableReason::Malformed).await.unwrap();
    let cases = [
        (ErrorReason::UnknownUser, Code::NotFound),
        (ErrorReason::UnknownDevice, Code::NotFound),
        (ErrorReason::RateLimited, Code::ResourceExhausted),
        (ErrorReason::Contended, Code::Unavailable),
        (ErrorReason::PoolExhausted, Code::FailedPrecondition),
        (ErrorReason::NoCompatiblePackage, Code::FailedPrecondition),
    ];
    for (reason, code) in cases {
        let missing = MissingTarget { reason: reason.into(), ..missing("bob", "device 1") };
        let missing = vec![missing];
        fake.reserve.answer(Ok(ReserveKeyPackagesResponse { missing, ..held(&names(1)) }));

        let error = reservation.ensure().await.unwrap_err();

        assert_eq!(error.reason(), Some(reason));
        assert_eq!(error.failure().unwrap().code, code, "{reason:?}");
    }
    reservation.keep();
}

#[tokio::test]
async fn an_ensure_that_is_given_up_leaves_the_reservation_as_it_was() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let mut reservation = incomplete(&fake, &client).await;
    let packages = reservation.packages().to_vec();
    fake.reserve.answer(Ok(held(&names(100))));

    tokio::select! {
        done = reservation.ensure() => panic!("{done:?}"),
        () = eventually(|| fake.reserve.requests().len() == 4) => {}
    }

    assert_eq!(reservation.packages(), packages);
    fake.release.answer(Ok(ReleaseReservationResponse::default()));
    fake.release.answer(Ok(ReleaseReservationResponse::default()));
    reservation.release().await.unwrap();
    let names: Vec<_> = packages.into_iter().map(|package| package.name).collect();
    assert_eq!(released(&fake), names);
}

#[tokio::test]
async fn a_send_that_fails_gives_back_nothing_that_an_earlier_process_may_have_reserved() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    for own_id in [true, false] {
        fake.reserve.answer(Ok(held(&names(100))));
        fake.reserve.answer(Err(failure(Code::Internal, ErrorReason::Internal, vec![])));
        fake.release.answer(Ok(ReleaseReservationResponse::default()));
        let builder = client.reserve(b"group").targets(devices(150));
        let builder = if own_id { builder.reservation_id("stored") } else { builder };

        builder.send().await.unwrap_err();

        assert_eq!(released(&fake).len(), if own_id { 0 } else { 100 });
    }
}

#[cfg(feature = "serde")]
#[tokio::test]
async fn stored_it_is_taken_up_again() {
    let (fake, client) = Fake::start().await;
    let client = client.on_behalf_of("alice").connect().await.unwrap();
    fake.spend.answer(Ok(SpendReservationResponse::default()));

    let reservation = reserve(&fake, &client, 2).await;
    let stored = serde_json::to_string(&reservation.save()).unwrap();
    let id = reservation.keep();
    let mut resumed = client.resume(serde_json::from_str(&stored).unwrap());
    resumed.spend().await.unwrap();

    assert_eq!(resumed.id(), id);
    let spend = &fake.spend.requests()[0];
    assert_eq!((&*spend.reservation_id, &*spend.on_behalf_of), (&*id, "alice"));
    assert_eq!(spend.packages, names(2));
}

fn limited(wait: Duration) -> Status {
    let details = vec![retry_info(wait)];
    failure(Code::ResourceExhausted, ErrorReason::RateLimited, details)
}

#[tokio::test]
async fn a_rate_that_refuses_a_spend_a_release_or_an_extend_is_waited_out() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let soon = || limited(Duration::from_millis(20));
    fake.extend.answer(Err(soon())).answer(Ok(ExtendReservationResponse {
        expire_time: Some(prost_types::Timestamp { seconds: 2, nanos: 0 }),
        ..Default::default()
    }));
    fake.spend.answer(Err(soon())).answer(Ok(SpendReservationResponse::default()));
    fake.release.answer(Err(soon())).answer(Ok(ReleaseReservationResponse::default()));

    let mut reservation = reserve(&fake, &client, 2).await;
    reservation.extend(Duration::from_secs(60)).await.unwrap();
    reservation.spend_packages(&names(1)).await.unwrap();
    reservation.release().await.unwrap();

    let [extends, spends, releases] =
        [fake.extend.requests().len(), fake.spend.requests().len(), fake.release.requests().len()];
    assert_eq!([extends, spends, releases], [2, 2, 2]);
    assert_eq!(fake.spend.requests()[0], fake.spend.requests()[1]);
    assert_eq!(released(&fake)[1..], names(2)[1..], "what is spent is not released");
}

#[tokio::test]
async fn a_spend_that_a_rate_refuses_for_long_can_be_made_later() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let hour = Duration::from_secs(3600);
    fake.spend.answer(Err(limited(hour))).answer(Ok(SpendReservationResponse::default()));

    let mut reservation = reserve(&fake, &client, 2).await;
    let error = reservation.spend().await.unwrap_err();

    assert!(matches!(error, Error::RateLimited(_)), "{error:?}");
    assert_eq!(error.retry_after(), Some(hour));
    assert!(reservation.packages().iter().all(|package| !package.spent));
    reservation.spend().await.unwrap();
    assert!(reservation.packages().iter().all(|package| package.spent));
}
