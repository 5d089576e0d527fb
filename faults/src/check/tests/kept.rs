//! Right histories in which a reservation seems to be refused what it has: each has its explanation.

use super::story::{DEVICE, Story, TTL, package, refused, unknown};
use crate::history::{Action, Answer, Call, Kind, Outcome};
use std::time::Duration;

const EXTEND: Action = Action::Extend(Duration::from_secs(1));

/// What comes before a spend or an extension, or a repeat, that is refused right after it.
type Before = fn(&mut Story);

/// A reservation holds a package until [`TTL`], something comes to pass, and then all that it asks for is refused. Nothing is
/// wrong with that.
fn explained(before: Before) {
    explains(before, &[Action::Spend, EXTEND]);
    explains_a_repeat(before);
}

fn explains(before: Before, refuses: &[Action]) {
    for action in refuses {
        let mut story = Story::with(&[1]);
        story.reserved(0, 1, 1);
        before(&mut story);
        let checked = story.verdict().remarks.checked_holds;
        story.hold(800, *action, 1, 1, refused("RESERVATION_NOT_FOUND"));
        assert_eq!(story.verdict().violations, [], "{action:?}");
        assert_eq!(story.verdict().remarks.checked_holds, checked, "{action:?}");
    }
}

fn explains_a_repeat(before: Before) {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    before(&mut story);
    // Others may hold it by now.
    story.asked(790, 2, unknown());
    story.exhausted(800, 1);
    assert_eq!(story.verdict().violations, []);
    assert_eq!(story.verdict().remarks.checked_repeats, 0);
}

#[test]
fn released() {
    explained(|story| story.released(100, 1, 1));
    explained(|story| story.hold(100, Action::Release, 1, 1, unknown()));
    explained(|story| {
        // ... and not answered before the end.
        story.released(790, 1, 1);
        story.answered(900);
    });
}

#[test]
fn reported_as_unusable() {
    explains(|story| story.hold(100, Action::SetAside, 1, 1, unknown()), &[Action::Spend, EXTEND]);
    explains_a_repeat(|story| story.hold(100, Action::SetAside, 1, 1, unknown()));
}

#[test]
fn given_back_by_a_reserve_of_all_or_nothing() {
    explained(|story| {
        story.asked(100, 1, unknown());
        story.all_or_nothing();
    });
    explained(|story| {
        story.asked(50, 2, unknown());
        story.exhausted(100, 1);
        story.all_or_nothing();
    });
    explained(|story| {
        // An earlier try of the first reserve comes late, and misses something.
        story.fault(Kind::FreezeService, 0, 700);
        let Call::Reserve(first) = &mut story.0.records[1].call else { unreachable!() };
        first.require_all = true;
    });
}

#[test]
fn a_hold_that_lapses_meanwhile() {
    for end in [500, 805, 840] {
        let mut story = Story::with(&[1]);
        story.held_until(0, 1, 1, end);
        story.hold(800, Action::Spend, 1, 1, refused("RESERVATION_LOST"));
        story.exhausted(800, 1);
        let broken = story.verdict().violations;
        assert!(
            broken.iter().all(|one| one.broken == crate::check::Broken::FalselyExhausted),
            "{broken:?}"
        );
    }
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.hold(800, EXTEND, 1, 1, refused("RESERVATION_LOST"));
    story.answered(TTL);
    assert_eq!(story.verdict().violations, []);
}

#[test]
fn a_hold_that_was_not_acknowledged_before() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.answered(600);
    story.hold(500, Action::Spend, 1, 1, refused("RESERVATION_NOT_FOUND"));
    assert_eq!(story.verdict().violations, []);
}

#[test]
fn an_expired_package() {
    for end in [700, 805, 840] {
        let mut story = Story::with(&[1]);
        story.reserved(0, 1, 1);
        story.hold(800, Action::Spend, 1, 1, refused("KEY_PACKAGE_EXPIRED"));
        story.hold(800, EXTEND, 1, 1, refused("KEY_PACKAGE_EXPIRED"));
        story.exhausted(800, 1);
        story.expires(1, end);
        assert_eq!(story.verdict().violations, [], "{end}");
    }
}

#[test]
fn a_revocation_that_was_long_ago() {
    const DAY: i64 = 24 * 3600 * 1000;
    let mut story = Story::with(&[1]);
    story.held_until(0, 1, 1, DAY * 2);
    story.call(50, Call::Revoke(DEVICE, None), unknown());
    story.hold(DAY + 100, Action::Spend, 1, 1, refused("KEY_PACKAGE_REVOKED"));
    story.expires(1, DAY * 3);
    assert_eq!(story.verdict().violations, []);
}

#[test]
fn a_revoked_package_is_not_handed_out_again() {
    for answer in [unknown(), Outcome::Ok(Answer::Revoked(vec![package(1)]))] {
        let mut story = Story::with(&[1]);
        story.reserved(0, 1, 1);
        story.call(50, Call::Reconcile(DEVICE, Vec::new()), answer);
        story.exhausted(800, 1);
        assert_eq!(story.verdict().violations, []);
    }
}

#[test]
fn an_extension_of_what_is_or_may_be_spent() {
    explains(|story| story.spent(100, 1, 1), &[EXTEND]);
    explains(|story| story.hold(100, Action::Spend, 1, 1, unknown()), &[EXTEND]);
    explains(
        |story| {
            story.hold(790, Action::Spend, 1, 1, unknown());
            story.answered(5000);
        },
        &[EXTEND],
    );
}

#[test]
fn a_call_that_a_limit_refuses_unread() {
    let why = "RATE_LIMITED".to_owned();
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    let unread = Answer::Held(vec![Some("refused with the whole call".to_owned())], None);
    story.hold(100, Action::Spend, 1, 1, Outcome::Failed(why.clone(), unread));
    let unread = Answer::Reserved(Vec::new(), Vec::new());
    story.asked(200, 1, Outcome::Failed(why, unread));
    assert_eq!(story.verdict().violations, []);
}

#[test]
fn calls_of_which_nobody_knows() {
    // OVERLOADED and what else asks for another try says nothing of those before it.
    for why in ["OVERLOADED", "DATABASE_UNAVAILABLE", "SHUTTING_DOWN", "TRANSPORT"] {
        let mut story = Story::with(&[1]);
        story.reserved(0, 1, 1);
        story.hold(100, Action::Spend, 1, 1, Outcome::Unknown(why.to_owned()));
        story.asked(200, 1, Outcome::Unknown(why.to_owned()));
        assert_eq!(story.verdict().violations, [], "{why}");
    }
}

#[test]
fn another_package_of_one_try_that_a_replica_made_twice() {
    // The replica lost its connection, and ran the statement again while the first run of it went on.
    let mut story = Story::with(&[1, 2]);
    story.fault(Kind::CutDatabase, 0, 900);
    story.reserved(0, 1, 1);
    story.by_one_try();
    story.reserved(100, 1, 2);
    let verdict = story.verdict();
    assert_eq!(verdict.violations, []);
    assert_eq!((verdict.remarks.taken_by_two_tries, verdict.remarks.calm_repeats), (1, 0));
}

#[test]
fn another_package_that_is_spent() {
    // Of two that two tries took, both were spent.
    let mut story = Story::with(&[1, 2]);
    story.fault(Kind::LoseReplies, 0, 900);
    story.reserved(0, 1, 1);
    story.hold(50, Action::Spend, 1, 2, unknown());
    story.logged(1, 2);
    story.spent(100, 1, 1);
    let other = crate::history::Handed { spent: true, ..super::story::handed(2) };
    story.got(200, 1, vec![other]);
    assert_eq!(story.verdict().violations, []);
}

#[test]
fn a_refused_spend_of_which_an_earlier_try_was_done() {
    let mut story = Story::with(&[1]);
    story.fault(Kind::Cut, 0, 9000);
    story.reserved(0, 1, 1);
    story.hold(TTL + 100, Action::Spend, 1, 1, refused("RESERVATION_LOST"));
    story.logged(1, 1);
    assert_eq!(story.verdict().violations, []);
}

#[test]
fn books_that_could_not_be_read() {
    let mut story = Story::with(&[1]);
    story.0.books = crate::history::Books::default();
    assert_eq!(story.verdict().violations, []);
}
