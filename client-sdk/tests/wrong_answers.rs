//! A service that lies: its answers do not fit what was asked.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use keypool_client::proto::v1::*;
use keypool_client::{Client, Error, ReserveBuilder, Target, WrongAnswer};
use support::*;
use tonic::{Code, Status};

type Answer = Result<ReserveKeyPackagesResponse, Status>;

fn of(user_id: &str, device_id: &str) -> ReservedKeyPackage {
    package(name(user_id, device_id, device_id.as_bytes()), vec![1])
}

fn answer(packages: Vec<ReservedKeyPackage>, missing: Vec<MissingTarget>) -> Answer {
    Ok(ReserveKeyPackagesResponse { missing, ..reserved(packages) })
}

/// A failure that lists these.
fn exhausted(missing: Vec<MissingTarget>) -> Answer {
    let details = detail(
        "keypool.v1.ReserveErrorDetails",
        &ReserveErrorDetails { missing, omitted_count: 0 },
    );
    Err(failure(Code::FailedPrecondition, ErrorReason::PoolExhausted, vec![details]))
}

fn unanswered(target: Target) -> WrongAnswer {
    WrongAnswer::Unanswered(target)
}

fn not_asked_for(user_id: &str, device_id: Option<&str>) -> WrongAnswer {
    let (user_id, device_id) = (user_id.into(), device_id.map(str::to_owned));
    WrongAnswer::NotAskedFor { user_id, device_id }
}

fn two_answers(user_id: &str, device_id: &str) -> WrongAnswer {
    WrongAnswer::TwoAnswers { user_id: user_id.into(), device_id: device_id.into() }
}

/// Bob with all his devices, Carol's phone, and Alice's devices but for her laptop.
fn targets() -> Vec<Target> {
    let alice = Target::user_except("alice", ["laptop"]);
    vec![Target::user("bob"), Target::device("carol", "phone"), alice]
}

fn wrong(error: Error) -> WrongAnswer {
    match error {
        Error::WrongAnswer(wrong) => *wrong,
        error => panic!("{error:?}"),
    }
}

/// Each answer to a reserve for [`targets`] of cipher suite 1, and how it is wrong.
fn lies() -> Vec<(Answer, WrongAnswer)> {
    let (bobs, carols) = (of("bob", "phone"), of("carol", "phone"));
    let both = || vec![of("bob", "phone"), of("carol", "phone")];
    let and = |more| [both(), vec![more]].concat();
    let carol = || Target::device("carol", "phone");
    let other_suite = ReservedKeyPackage { cipher_suite: 3, ..of("bob", "phone") };
    let another_ref = package(name("bob", "phone", b"another"), vec![2]);
    let elsewhere = |reservation_id: &str, group_id: &[u8]| {
        let (reservation_id, group_id) = (reservation_id.into(), group_id.into());
        let packages = both();
        let reservation =
            Some(Reservation { reservation_id, group_id, packages, ..Default::default() });
        Ok(ReserveKeyPackagesResponse { reservation, missing: vec![] })
    };
    vec![
        // Left out.
        (answer(vec![], vec![]), unanswered(Target::user("bob"))),
        (answer(vec![bobs.clone()], vec![]), unanswered(carol())),
        (answer(vec![carols.clone()], vec![]), unanswered(Target::user("bob"))),
        (answer(vec![carols], vec![missing("carol", "")]), unanswered(Target::user("bob"))),
        // Added.
        (answer(and(of("mallory", "phone")), vec![]), not_asked_for("mallory", Some("phone"))),
        (answer(and(of("carol", "ghost")), vec![]), not_asked_for("carol", Some("ghost"))),
        (answer(and(of("alice", "laptop")), vec![]), not_asked_for("alice", Some("laptop"))),
        (answer(and(of("Bob", "phone")), vec![]), not_asked_for("Bob", Some("phone"))),
        (answer(both(), vec![missing("mallory", "")]), not_asked_for("mallory", None)),
        (answer(both(), vec![missing("carol", "ghost")]), not_asked_for("carol", Some("ghost"))),
        (answer(both(), vec![missing("alice", "laptop")]), not_asked_for("alice", Some("laptop"))),
        (exhausted(vec![missing("mallory", "")]), not_asked_for("mallory", None)),
        // Twice.
        (answer(and(of("bob", "phone")), vec![]), two_answers("bob", "phone")),
        (answer(and(another_ref), vec![]), two_answers("bob", "phone")),
        (answer(both(), vec![missing("carol", "phone")]), two_answers("carol", "phone")),
        // Other than asked.
        (
            answer(vec![other_suite.clone(), of("carol", "phone")], vec![]),
            WrongAnswer::CipherSuite { name: other_suite.name.unwrap(), cipher_suite: 3 },
        ),
        (elsewhere("another", b"group"), WrongAnswer::AnotherReservation),
    ]
}

fn reserve(client: &Client) -> ReserveBuilder {
    client.reserve(b"group").targets(targets()).cipher_suite(1)
}

fn released(fake: &Fake) -> Vec<KeyPackageName> {
    let packages = fake.release.requests().into_iter().flat_map(|release| release.packages);
    packages.filter_map(|package| package.name).collect()
}

fn names(answer: &Answer) -> Vec<KeyPackageName> {
    let reservation = answer.iter().filter_map(|answer| answer.reservation.as_ref());
    let packages = reservation.flat_map(|reservation| &reservation.packages);
    packages.filter_map(|package| package.name.clone()).collect()
}

#[tokio::test]
async fn what_was_not_asked_for_and_what_was_left_out_are_errors() {
    for (lie, how) in lies() {
        let (fake, client) = Fake::start().await;
        let client = client.connect().await.unwrap();
        fake.reserve.answer(lie.clone());
        fake.release.always(Ok(ReleaseReservationResponse::default()));

        let error = reserve(&client).send().await.unwrap_err();

        assert!(!error.is_retryable());
        assert_eq!(wrong(error), how);
        assert_eq!(released(&fake), names(&lie), "{how}");
    }
}

#[tokio::test]
async fn a_reservation_is_for_its_group() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let reservation = Reservation {
        reservation_id: "stored".into(),
        group_id: b"another".to_vec(),
        packages: vec![of("bob", "phone")],
        ..Default::default()
    };
    let reservation = Some(reservation);
    fake.reserve.answer(Ok(ReserveKeyPackagesResponse { reservation, missing: vec![] }));

    let reserve = client.reserve(b"group").user("bob").reservation_id("stored");
    let error = reserve.send().await.unwrap_err();

    assert_eq!(wrong(error), WrongAnswer::AnotherReservation);
}

#[tokio::test]
async fn a_complete_answer_is_none() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let alices = answer(
        vec![of("alice", "phone"), of("bob", "phone"), of("bob", "tablet")],
        vec![missing("bob", "old"), missing("carol", "phone")],
    );
    let no_other_device = answer(vec![of("carol", "phone")], vec![missing("bob", "")]);
    for honest in [alices, no_other_device] {
        fake.reserve.answer(honest);
        reserve(&client).send().await.unwrap().keep();
    }
}

#[tokio::test]
async fn what_needs_all_is_not_done_while_something_is_missing() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.release.always(Ok(ReleaseReservationResponse::default()));
    let missing = vec![missing("carol", "phone")];
    fake.reserve.answer(answer(vec![of("bob", "phone")], missing));

    let error = reserve(&client).require_all().send().await.unwrap_err();

    let WrongAnswer::NotAll(missing) = wrong(error) else { panic!("another error") };
    assert_eq!(missing[0].user_id, "carol");
    assert_eq!(released(&fake).len(), 1);
}

#[tokio::test]
async fn a_wrong_answer_to_an_ensure_gives_back_what_it_added_and_nothing_else() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.release.always(Ok(ReleaseReservationResponse::default()));
    fake.reserve.answer(answer(vec![of("bob", "phone")], vec![missing("carol", "phone")]));
    let mut reservation = reserve(&client).send().await.unwrap();
    let packages = reservation.packages().to_vec();

    fake.reserve.answer(answer(vec![of("bob", "phone"), of("bob", "tablet")], vec![]));
    let error = reservation.ensure().await.unwrap_err();

    assert_eq!(wrong(error), unanswered(Target::device("carol", "phone")));
    assert_eq!(reservation.packages(), packages);
    assert_eq!(released(&fake), [name("bob", "tablet", b"tablet")]);
    reservation.keep();
}

#[tokio::test]
async fn one_device_has_one_package_in_all_calls_of_a_reserve() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.release.always(Ok(ReleaseReservationResponse::default()));
    let devices = (0..100).map(|i| Target::device("bob", format!("device {i}")));
    let builder = client.reserve(b"group").targets(devices).user("bob");
    let first = || {
        let bobs = (0..100).map(|i| of("bob", &format!("device {i}")));
        answer(bobs.collect(), vec![])
    };

    fake.reserve.answer(first()).answer(answer(vec![of("bob", "device 7")], vec![]));
    let reservation = builder.clone().send().await.unwrap();
    assert_eq!(reservation.packages().len(), 100);
    reservation.keep();

    let other = package(name("bob", "device 7", b"another"), vec![2]);
    fake.reserve.answer(first()).answer(answer(vec![other], vec![]));
    let error = builder.send().await.unwrap_err();
    assert_eq!(wrong(error), two_answers("bob", "device 7"));
    assert_eq!(released(&fake).len(), 101);
}

/// Outcomes that are not one for each of two packages, in order.
fn wrong_outcomes() -> Vec<Vec<KeyPackageOutcome>> {
    let (first, second) = (name("bob", "phone", b"phone"), name("bob", "tablet", b"tablet"));
    let [first, second] = [outcome(first), outcome(second)];
    let ghost = outcome(name("bob", "ghost", b"ghost"));
    vec![
        vec![first.clone()],
        vec![second.clone(), first.clone()],
        vec![first.clone(), first.clone()],
        vec![first.clone(), ghost.clone()],
        vec![first.clone(), second, ghost],
        vec![first, KeyPackageOutcome::default()],
    ]
}

async fn two_packages(fake: &Fake, client: &Client) -> keypool_client::Reservation {
    fake.reserve.answer(answer(vec![of("bob", "phone"), of("bob", "tablet")], vec![]));
    client.reserve(b"group").user("bob").send().await.unwrap()
}

#[tokio::test]
async fn spend_extend_and_release_have_one_outcome_for_each_package() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    for outcomes in wrong_outcomes() {
        let mut reservation = two_packages(&fake, &client).await;
        let expire_time = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        let extended = ExtendReservationResponse {
            outcomes: outcomes.clone(),
            expire_time,
            service_time: None,
        };
        fake.extend.answer(Ok(extended));
        fake.spend.answer(Ok(SpendReservationResponse { outcomes: outcomes.clone() }));
        fake.release.answer(Ok(ReleaseReservationResponse { outcomes }));

        let extended = reservation.extend(Duration::from_secs(60)).await.unwrap_err();
        let spent = reservation.spend().await.unwrap_err();
        assert!(reservation.packages().iter().all(|package| !package.spent));
        let released = reservation.release().await.unwrap_err();

        for error in [extended, spent, released] {
            assert_eq!(wrong(error), WrongAnswer::Results);
        }
    }
}

#[tokio::test]
async fn a_failure_is_about_packages_of_the_call() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let lost = |index| (index, ErrorReason::ReservationLost.into());
    for failed in [&[lost(2)][..], &[lost(1), lost(0)], &[lost(0), lost(0)], &[lost(u32::MAX)]] {
        let details = vec![failures(failed)];
        fake.spend.answer(Err(failure(Code::Aborted, ErrorReason::ReservationLost, details)));

        let mut reservation = two_packages(&fake, &client).await;
        let error = reservation.spend().await.unwrap_err();

        assert_eq!(wrong(error), WrongAnswer::Results);
        assert!(reservation.packages().iter().all(|package| !package.spent));
    }
}

fn status(user_id: &str, device_id: &str) -> DevicePoolStatus {
    let (user_id, device_id) = (user_id.into(), device_id.into());
    DevicePoolStatus { user_id, device_id, ..Default::default() }
}

#[tokio::test]
async fn a_status_is_that_of_the_device() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let phone = || status("bob", "phone");
    for strange in [status("bob", "tablet"), status("mallory", "phone")] {
        let statuses = [vec![strange.clone()], vec![strange.clone(), phone()]];
        for devices in statuses {
            fake.status.answer(Ok(GetPoolStatusResponse { devices, ..Default::default() }));
            let error = client.pool_status("bob", "phone").await.unwrap_err();
            assert!(matches!(wrong(error), WrongAnswer::NotAskedFor { .. }));
        }
        let pool_status = Some(strange.clone());
        fake.reconcile.answer(Ok(ReconcilePoolResponse { pool_status, ..Default::default() }));
        let error = client.reconcile("bob", "phone", vec![], None).await.unwrap_err();
        assert!(matches!(wrong(error), WrongAnswer::NotAskedFor { .. }));

        let pool_status = Some(strange);
        fake.watch.answer(Ok(vec![Ok(WatchPoolResponse { pool_status })]));
        let error = client.watch_pool("bob", "phone").next().await.unwrap_err();
        assert!(matches!(wrong(error), WrongAnswer::NotAskedFor { .. }));
    }
    let lies = [vec![phone(), status("mallory", "phone")], vec![phone(), phone()]];
    for devices in lies {
        fake.status.answer(Ok(GetPoolStatusResponse { devices, ..Default::default() }));
        wrong(client.pool_status_of_user("bob").await.unwrap_err());
    }
}

#[tokio::test]
async fn an_upload_has_one_result_for_each_package() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let accepted = UploadResult { outcome: UploadOutcome::Accepted.into(), ..Default::default() };
    for count in [0, 1, 3] {
        let results = vec![accepted.clone(); count];
        let pool_status = Some(status("bob", "phone"));
        fake.upload.answer(Ok(UploadKeyPackagesResponse {
            results,
            pool_status,
            ..Default::default()
        }));
        let error = client.upload("bob", "phone", vec![vec![1], vec![2]]).await.unwrap_err();
        assert_eq!(wrong(error), WrongAnswer::Results);
    }
}

#[tokio::test]
async fn a_reconcile_revokes_nothing_that_the_device_has() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let unavailable = |key_package_ref: u8| {
        let state = UnavailableState::Spent.into();
        ReconciledKeyPackage { key_package_ref: vec![key_package_ref], state }
    };
    let pool_status = || Some(status("bob", "phone"));
    let lies = [(vec![vec![1]], vec![]), (vec![], vec![unavailable(2)])];
    for (revoked_key_package_refs, unavailable_key_packages) in lies {
        fake.reconcile.answer(Ok(ReconcilePoolResponse {
            revoked_key_package_refs,
            unavailable_key_packages,
            pool_status: pool_status(),
        }));
        let error = client.reconcile("bob", "phone", vec![vec![1]], None).await.unwrap_err();
        assert_eq!(wrong(error), WrongAnswer::Results);
    }
}

#[cfg(feature = "openmls")]
mod invites {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use keypool_client::mls::Invite;
    use keypool_client::{BasicIdentity, InviteError, Inviter, PublishError};
    use support::device::Device;

    use super::*;

    #[tokio::test]
    async fn no_lie_gets_into_a_group() {
        for (lie, how) in lies() {
            let (fake, client) = Fake::start().await;
            let client = client.connect().await.unwrap();
            fake.reserve.answer(lie);
            fake.release.always(Ok(ReleaseReservationResponse::default()));
            let alice = Device::new("alice", "laptop");
            let mut group = alice.group();
            let published = AtomicUsize::new(0);
            let publish = async |_: Invite| {
                published.fetch_add(1, Ordering::SeqCst);
                Ok::<_, PublishError>(())
            };

            let inviter = Inviter::new(client, BasicIdentity::default());
            let (provider, signer) = (&alice.provider, &alice.signer);
            let invited = inviter.invite(&mut group, provider, signer, targets(), publish).await;

            let InviteError::Reserve(error) = invited.unwrap_err() else { panic!("{how}") };
            assert_eq!(wrong(error), how);
            assert_eq!((fake.spend.requests().len(), published.into_inner()), (0, 0));
            assert_eq!(group.members().count(), 1);
        }
    }

    #[tokio::test]
    async fn a_lie_about_a_replacement_ends_the_invite() {
        let (fake, client) = Fake::start().await;
        let client = client.connect().await.unwrap();
        fake.release.always(Ok(ReleaseReservationResponse::default()));
        let (alice, phone) = (Device::new("alice", "laptop"), Device::new("bob", "phone"));
        let tablet = Device::new("bob", "tablet").fresh();
        let mut broken = phone.fresh();
        broken.key_package.pop();
        let ghost = Device::new("mallory", "phone").fresh();
        fake.reserve.answer(answer(vec![broken.clone(), tablet.clone()], vec![]));
        fake.reserve.answer(answer(vec![phone.fresh(), tablet.clone(), ghost], vec![]));
        let mut group = alice.group();

        let inviter = Inviter::new(client, BasicIdentity::default());
        let targets = [Target::user("bob")];
        let publish = async |_: Invite| Ok::<_, PublishError>(());
        let (provider, signer) = (&alice.provider, &alice.signer);
        let invited = inviter.invite(&mut group, provider, signer, targets, publish).await;

        let InviteError::Reserve(error) = invited.unwrap_err() else { panic!("another error") };
        assert_eq!(wrong(error), not_asked_for("mallory", Some("phone")));
        assert!(released(&fake).contains(&tablet.name.unwrap()));
        assert_eq!(fake.spend.requests().len(), 0);
    }
}
