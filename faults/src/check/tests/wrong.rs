//! Wrong histories, one for each way to break a promise.

use super::story::{DEVICE, Story, TTL, done, handed, package, refused, unknown};
use crate::{
    check::Broken,
    history::{
        Action, Answer, Call, Device, Handed, Incident, Kind, Micros, Outcome, Uploaded, User,
    },
};
use std::time::Duration;

#[test]
fn two_holds_at_the_same_time() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.reserved(500, 2, 1);
    assert_eq!(story.broken(), [Broken::HeldTwice]);
}

#[test]
fn a_hold_in_one_that_was_extended() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    let until = Outcome::Ok(Answer::Held(vec![None], Some(Micros(1_700_000))));
    story.hold(700, Action::Extend(Duration::from_secs(1)), 1, 1, until);
    story.reserved(1200, 2, 1);
    assert_eq!(story.broken(), [Broken::HeldTwice]);
}

#[test]
fn two_spends() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.spent(TTL + 100, 1, 1);
    story.reserved(TTL + 95, 2, 1);
    story.spent(TTL + 120, 2, 1);
    assert_eq!(story.broken(), [Broken::SpentTwice, Broken::Misplaced, Broken::Unbalanced]);
}

#[test]
fn a_spent_package_handed_out() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.spent(100, 1, 1);
    story.reserved(5000, 2, 1);
    assert_eq!(story.broken(), [Broken::SpentCameBack]);
}

#[test]
fn a_spend_after_another_was_handed_the_package() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.reserved(TTL + 100, 2, 1);
    story.spent(TTL + 200, 1, 1);
    assert_eq!(story.broken(), [Broken::SpentThoughLost]);
}

#[test]
fn a_spend_after_the_other_gave_it_back() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.reserved(TTL + 100, 2, 1);
    story.released(TTL + 200, 2, 1);
    story.spent(TTL + 300, 1, 1);
    assert_eq!(story.broken(), [Broken::SpentThoughLost]);
}

#[test]
fn a_spent_package_accepted_again() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.spent(100, 1, 1);
    story.upload(200, &[1], Outcome::Ok(Answer::Uploaded(vec![None])));
    assert_eq!(story.broken(), [Broken::SpentAccepted]);
}

#[test]
fn a_revoked_package_handed_out() {
    for package in [Some(vec![package(1)]), None] {
        let mut story = Story::with(&[1]);
        story.call(0, Call::Revoke(DEVICE, package), Outcome::Ok(Answer::Nothing));
        story.reserved(100, 1, 1);
        assert_eq!(story.broken(), [Broken::RevokedCameBack]);
    }
    let mut story = Story::with(&[1]);
    let revoked = Outcome::Ok(Answer::Revoked(vec![package(1)]));
    story.call(0, Call::Reconcile(DEVICE, Vec::new()), revoked);
    story.reserved(100, 1, 1);
    assert_eq!(story.broken(), [Broken::RevokedCameBack]);
}

#[test]
fn an_expired_package_handed_out_or_spent() {
    for spends in [false, true] {
        let mut story = Story::with(&[]);
        let until = |end: i64, handed: Handed| Handed {
            not_after: Micros(end * 1000),
            until: Some(Micros(1_105_000)),
            ..handed
        };
        let end = if spends { 500 } else { 90 };
        let uploaded = Uploaded {
            package: package(1),
            suite: 1,
            last_resort: false,
            not_after: Micros(end * 1000),
        };
        let upload = crate::history::Upload { device: DEVICE, packages: vec![uploaded] };
        story.call(0, Call::Upload(upload), Outcome::Ok(Answer::Uploaded(vec![None])));
        story.stored(&[1]);
        story.got(100, 1, vec![until(end, handed(1))]);
        if spends {
            story.spent(600, 1, 1);
        }
        assert_eq!(story.broken(), [Broken::Stale], "{spends}");
    }
}

#[test]
fn what_was_not_asked_for() {
    let held = Handed { until: Some(Micros(1_005_000)), ..handed(1) };
    for wrong in [
        Handed { suite: 2, ..held },
        Handed { device: Device(User(1), 1), ..held },
        Handed { package: package(9), ..held },
        Handed { authentic: false, ..held },
        Handed { not_after: Micros(1), ..held },
    ] {
        let mut story = Story::with(&[1]);
        story.got(0, 1, vec![wrong]);
        assert!(story.broken().contains(&Broken::NotAskedFor), "{wrong:?}");
    }
}

#[test]
fn two_packages_of_one_device() {
    let mut story = Story::with(&[1, 2]);
    let until = Some(Micros(1_005_000));
    story.got(0, 1, vec![Handed { until, ..handed(1) }, Handed { until, ..handed(2) }]);
    assert_eq!(story.broken(), [Broken::TwoOfOneDevice]);
}

#[test]
fn a_repeat_that_returns_something_else() {
    let mut story = Story::with(&[1, 2]);
    story.reserved(0, 1, 1);
    story.reserved(100, 1, 2);
    assert_eq!(story.broken(), [Broken::RepeatDiffers]);

    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.exhausted(100, 1);
    assert_eq!(story.broken(), [Broken::RepeatDiffers, Broken::FalselyExhausted]);

    let mut story = Story::with(&[1, 2]);
    story.reserved(0, 1, 1);
    story.spent(100, 1, 1);
    story.reserved(TTL * 5, 1, 2);
    assert_eq!(
        story.broken(),
        [Broken::RepeatDiffers],
        "what is spent is the reservation's for good"
    );
}

#[test]
fn a_pool_with_packages_called_exhausted() {
    let mut story = Story::with(&[1, 2]);
    story.reserved(0, 1, 1);
    story.exhausted(100, 2);
    assert_eq!(story.broken(), [Broken::FalselyExhausted]);
}

#[test]
fn a_pool_called_exhausted_of_which_others_are_spent() {
    // Each of those that had packages has used them up, or got none: nobody can have the last one.
    let mut story = Story::with(&[1, 2, 3]);
    story.reserved(0, 1, 1);
    story.spent(100, 1, 1);
    story.reserved(0, 2, 2);
    story.reserved(150, 2, 2);
    let missing = vec![(DEVICE.0, Some(DEVICE.1), "NO_COMPATIBLE_PACKAGE".to_owned())];
    story.asked(160, 3, Outcome::Ok(Answer::Reserved(Vec::new(), missing)));
    story.exhausted(200, 4);
    assert_eq!(story.broken(), [Broken::FalselyExhausted]);
    assert_eq!(story.verdict().remarks.decided_exhausted, 1);
}

#[test]
fn the_last_resort_though_there_are_others() {
    let mut story = Story::with(&[1]);
    let last = Handed { last_resort: true, until: Some(Micros(1_005_000)), ..handed(1) };
    story.got(0, 1, vec![last]);
    let broken = story.broken();
    assert!(broken.contains(&Broken::FalselyExhausted), "{broken:?}");
    assert!(broken.contains(&Broken::LastResortNotLogged), "{broken:?}");
}

#[test]
fn an_upload_that_is_gone() {
    let mut story = Story::with(&[1]);
    story.upload(0, &[2], Outcome::Ok(Answer::Uploaded(vec![None])));
    assert_eq!(story.broken(), [Broken::UploadLost, Broken::Unbalanced]);
}

#[test]
fn a_spend_that_is_gone() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.hold(100, Action::Spend, 1, 1, done());
    assert_eq!(story.broken(), [Broken::SpendLost]);
}

#[test]
fn a_spend_that_nobody_made() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.logged(1, 1);
    assert_eq!(story.broken(), [Broken::NobodySpent]);

    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.hold(100, Action::Spend, 1, 1, refused("RESERVATION_LOST"));
    story.logged(1, 1);
    assert_eq!(story.broken(), [Broken::HoldLost, Broken::NobodySpent], "it was refused");
}

#[test]
fn a_package_in_no_place_or_two() {
    let mut story = Story::with(&[1]);
    story.0.books.one_time.clear();
    assert_eq!(story.broken(), [Broken::Misplaced, Broken::Unbalanced]);

    let mut story = Story::with(&[1]);
    story.0.books.revoked.push(package(1));
    let broken = [Broken::RevokedUnasked, Broken::Misplaced, Broken::Unbalanced];
    assert_eq!(story.broken(), broken);
}

#[test]
fn books_that_do_not_balance() {
    let mut story = Story::with(&[1]);
    story.0.books.pools[0].purged = 1;
    assert_eq!(story.broken(), [Broken::Unbalanced]);
}

#[test]
fn a_pool_that_is_not_counted_any_more() {
    let mut story = Story::with(&[1]);
    story.0.books.pools.clear();
    assert_eq!(story.broken(), [Broken::Unbalanced]);
}

#[test]
fn what_nobody_uploaded() {
    let mut story = Story::with(&[1]);
    story.stored(&[7]);
    assert_eq!(story.broken(), [Broken::Unbalanced, Broken::Foreign]);
}

#[test]
fn a_fence_that_nothing_asked_for() {
    let mut story = Story::with(&[1]);
    story.0.books.fences.push("fell_back".to_owned());
    assert_eq!(story.broken(), [Broken::FalseAlarm]);
}

#[test]
fn faults_of_the_service_itself() {
    let mut story = Story::with(&[1]);
    story.asked(0, 1, Outcome::Unknown("INTERNAL".to_owned()));
    assert_eq!(story.broken(), [Broken::Internal]);
}

#[test]
fn processes_and_calls_that_end_or_do_not() {
    for (incident, broken) in [
        (Incident::Hang("told".to_owned()), Broken::Hang),
        (Incident::Died("told".to_owned()), Broken::Died),
    ] {
        let mut story = Story::with(&[1]);
        story.0.incidents.push(incident);
        assert_eq!(story.broken(), [broken]);
    }
}

#[test]
fn a_failed_call_while_nothing_but_an_upgrade_happened() {
    let mut story = Story::with(&[1]);
    story.fault(Kind::Upgrade, 0, 1000);
    story.asked(100, 1, unknown());
    assert_eq!(story.broken(), [Broken::VisibleFailure]);
}
