//! Histories in which the database was put back to what it was.

use super::story::{DEVICE, Story, done, handed, package, refused, unknown};
use crate::{
    check::Broken,
    history::{Action, Answer, Call, Handed, Micros, Outcome},
};

/// Packages of these numbers were dumped at 1000, and restored from 5000 to 6000.
fn dumped(packages: &[u8]) -> Story {
    let mut story = Story::with(packages);
    story.restored(1000, 5000, 6000);
    story
}

fn reconciled(story: &mut Story, at: i64, numbers: &[u8]) {
    let kept = numbers.iter().map(|number| package(*number)).collect();
    story.call(at, Call::Reconcile(DEVICE, kept), Outcome::Ok(Answer::Revoked(Vec::new())));
}

#[test]
fn what_was_acknowledged_since_the_dump_may_be_gone() {
    let mut story = dumped(&[1]);
    story.reserved(2000, 1, 1);
    story.hold(2100, Action::Spend, 1, 1, done());
    story.upload(3000, &[2], Outcome::Ok(Answer::Uploaded(vec![None])));
    assert_eq!(story.broken(), []);
}

#[test]
fn what_was_acknowledged_before_the_dump_or_after_the_restore_may_not() {
    for at in [100, 8000] {
        let mut story = dumped(&[1]);
        story.reserved(at, 1, 1);
        story.hold(at + 100, Action::Spend, 1, 1, done());
        assert_eq!(story.broken(), [Broken::SpendLost], "{at}");

        let mut story = dumped(&[1]);
        story.upload(at, &[2], Outcome::Ok(Answer::Uploaded(vec![None])));
        assert_eq!(story.broken(), [Broken::UploadLost, Broken::Unbalanced], "{at}");
    }
}

#[test]
fn a_spent_package_comes_back_only_if_its_device_says_so() {
    let spent_since_the_dump = || {
        let mut story = dumped(&[1]);
        story.reserved(2000, 1, 1);
        story.hold(2100, Action::Spend, 1, 1, done());
        story
    };
    let mut story = spent_since_the_dump();
    story.reserved(8000, 2, 1);
    story.spent(8100, 2, 1);
    assert_eq!(story.broken(), [Broken::SpentTwice, Broken::SpentCameBack]);

    let mut story = spent_since_the_dump();
    reconciled(&mut story, 7000, &[1]);
    story.reserved(8000, 2, 1);
    story.spent(8100, 2, 1);
    assert_eq!(story.broken(), []);

    let mut story = spent_since_the_dump();
    reconciled(&mut story, 3000, &[1]);
    story.reserved(8000, 2, 1);
    assert_eq!(story.broken(), [Broken::SpentCameBack], "that was forgotten, too");
}

#[test]
fn what_was_spent_or_revoked_before_the_dump_does_not_come_back_whatever_its_device_says() {
    let mut story = dumped(&[1]);
    story.reserved(50, 1, 1);
    story.spent(100, 1, 1);
    reconciled(&mut story, 7000, &[1]);
    story.reserved(8000, 2, 1);
    assert_eq!(story.broken(), [Broken::SpentCameBack]);
    story.spent(8100, 2, 1);
    let broken = story.broken(); // and books that do not balance
    assert!(broken.starts_with(&[Broken::SpentTwice, Broken::SpentCameBack]), "{broken:?}");

    for (at, broken) in [(100, &[Broken::RevokedCameBack][..]), (2000, &[])] {
        let mut story = dumped(&[1]);
        story.call(at, Call::Revoke(DEVICE, None), Outcome::Ok(Answer::Nothing));
        reconciled(&mut story, 7000, &[1]);
        story.reserved(8000, 1, 1);
        assert_eq!(story.broken(), broken, "{at}");
    }
}

#[test]
fn a_held_package_comes_back_only_if_its_device_says_so() {
    for is_vouched_for in [false, true] {
        let mut story = dumped(&[1]);
        story.held_until(4000, 1, 1, 9000);
        if is_vouched_for {
            reconciled(&mut story, 7000, &[1]);
        }
        story.held_until(7500, 2, 1, 9500);
        let broken: &[Broken] = if is_vouched_for { &[] } else { &[Broken::HeldTwice] };
        assert_eq!(story.broken(), broken, "{is_vouched_for}");
    }
}

#[test]
fn a_revoked_package_does_not_come_back() {
    let mut story = dumped(&[1]);
    story.call(2000, Call::Revoke(DEVICE, None), Outcome::Ok(Answer::Nothing));
    story.reserved(8000, 1, 1);
    assert_eq!(story.broken(), [Broken::RevokedCameBack]);
}

#[test]
fn what_was_held_before_may_be_refused_and_called_exhausted() {
    let mut story = dumped(&[1]);
    story.held_until(4000, 1, 1, 9000);
    story.hold(7000, Action::Spend, 1, 1, refused("RESERVATION_LOST"));
    story.exhausted(8000, 2);
    story.exhausted(8100, 1);
    assert_eq!(story.broken(), []);
}

#[test]
fn what_was_uploaded_since_is_there() {
    let mut story = dumped(&[1]);
    story.upload(10_000, &[2], Outcome::Ok(Answer::Uploaded(vec![None])));
    story.stored(&[2]);
    story.exhausted(20_000, 2);
    assert_eq!(story.broken(), [Broken::FalselyExhausted]);
}

#[test]
fn a_restore_without_a_fence() {
    let mut story = dumped(&[1]);
    story.0.books.fences.clear();
    assert_eq!(story.broken(), [Broken::NoFence]);

    let mut story = dumped(&[1]);
    story.0.books.fences.push("other_database".to_owned());
    assert_eq!(story.broken(), [Broken::FalseAlarm], "one too many");

    let mut story = dumped(&[1]);
    story.0.books.fences = vec!["fell_back".to_owned()];
    assert_eq!(story.broken(), [Broken::FalseAlarm, Broken::NoFence], "a fence of another cause");
}

#[test]
fn a_restore_that_failed_may_have_a_fence() {
    let mut story = dumped(&[1]);
    story.0.faults[0].failed = true;
    assert_eq!(story.broken(), []);
    story.0.books.fences.clear();
    assert_eq!(story.broken(), []);
}

#[test]
fn a_package_that_is_revoked_by_what_was_given_up_before_it_was_made() {
    let calls = [Call::Revoke(DEVICE, None), Call::Reconcile(DEVICE, Vec::new())];
    for (call, made) in calls.iter().flat_map(|call| [(call, 5), (call, 20)]) {
        let mut story = Story::with(&[]);
        story.call(0, call.clone(), unknown());
        story.upload(made, &[1], Outcome::Ok(Answer::Uploaded(vec![None])));
        story.stored(&[1]);
        story.0.books.one_time.clear();
        story.0.books.revoked.push(package(1));
        let broken: &[Broken] = if made > 10 { &[Broken::RevokedUnasked] } else { &[] };
        assert_eq!(story.broken(), broken, "{call:?}, made at {made}");
    }
}

#[test]
fn a_hold_that_had_ended_when_it_was_answered() {
    let late = |end: i64| {
        let mut story = Story::with(&[1]);
        story.got(0, 1, vec![Handed { until: Some(Micros(end * 1000)), ..handed(1) }]);
        story.answered(3000);
        story.broken()
    };
    assert_eq!(late(1000), [Broken::ToldTooLate]);
    assert_eq!(late(2500), [], "it was on its way");
}
