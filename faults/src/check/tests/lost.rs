//! Wrong histories: what a reservation has is refused to it, or it is told that it has nothing.

use super::story::{DEVICE, Story, TTL, handed, package, refused, unknown};
use crate::{
    check::Broken,
    history::{Action, Answer, Call, Handed, Kind, Micros, Outcome},
};
use std::time::Duration;

const EXTEND: Action = Action::Extend(Duration::from_secs(1));

const REASONS: [&str; 6] = [
    "RESERVATION_LOST",
    "RESERVATION_NOT_FOUND",
    "KEY_PACKAGE_ALREADY_SPENT",
    "KEY_PACKAGE_REVOKED",
    "KEY_PACKAGE_EXPIRED",
    "RESERVATION_ID_REUSED",
];

#[test]
fn a_live_hold_that_is_refused() {
    for why in REASONS {
        for action in [Action::Spend, EXTEND] {
            let mut story = Story::with(&[1]);
            story.reserved(0, 1, 1);
            story.hold(500, action, 1, 1, refused(why));
            assert_eq!(story.broken(), [Broken::HoldLost], "{action:?}: {why}");
        }
    }
}

#[test]
fn a_live_hold_that_is_refused_with_the_whole_call() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    let nothing = Answer::Held(vec![Some("refused with the whole call".to_owned())], None);
    let refused = Outcome::Failed("RESERVATION_ID_REUSED".to_owned(), nothing);
    story.hold(500, Action::Spend, 1, 1, refused);
    assert_eq!(story.broken(), [Broken::HoldLost]);
}

#[test]
fn a_live_hold_that_is_refused_amid_faults() {
    let mut story = Story::with(&[1]);
    story.fault(Kind::LoseReplies, 0, 900);
    story.reserved(0, 1, 1);
    story.hold(500, Action::Spend, 1, 1, refused("RESERVATION_LOST"));
    assert_eq!(story.broken(), [Broken::HoldLost], "no try explains it");
}

#[test]
fn an_extended_hold_that_is_refused() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.extended(500, 1, 1, 3500);
    story.hold(TTL + 500, Action::Spend, 1, 1, refused("RESERVATION_NOT_FOUND"));
    assert_eq!(story.broken(), [Broken::HoldLost]);
}

#[test]
fn a_hold_that_a_revocation_ends() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.call(50, Call::Revoke(DEVICE, None), Outcome::Ok(Answer::Nothing));
    story.hold(500, Action::Spend, 1, 1, refused("KEY_PACKAGE_REVOKED"));
    assert_eq!(story.broken(), [Broken::HoldLost], "open holds have a grace");
}

#[test]
fn a_spend_that_is_repeated_and_refused() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.spent(100, 1, 1);
    story.hold(TTL * 5, Action::Spend, 1, 1, refused("KEY_PACKAGE_ALREADY_SPENT"));
    assert_eq!(story.broken(), [Broken::HoldLost]);
}

#[test]
fn a_repeat_that_gets_nothing_amid_faults() {
    let mut story = Story::with(&[1]);
    story.fault(Kind::LoseReplies, 0, 900);
    story.reserved(0, 1, 1);
    story.exhausted(100, 1);
    assert_eq!(story.broken(), [Broken::RepeatDiffers, Broken::FalselyExhausted]);

    // ... among other devices.
    for why in ["POOL_EXHAUSTED", "RATE_LIMITED"] {
        let mut story = Story::with(&[1, 2]);
        story.fault(Kind::LoseReplies, 0, 900);
        story.reserved(0, 1, 1);
        story.reserved(50, 2, 2);
        let missing = vec![(DEVICE.0, Some(DEVICE.1), why.to_owned())];
        story.asked(100, 1, Outcome::Ok(Answer::Reserved(Vec::new(), missing)));
        assert_eq!(story.broken()[0], Broken::RepeatDiffers, "{why}");
    }

    // ... refused as a whole, for a limit on the device that it has a hold on.
    let mut story = Story::with(&[1]);
    story.fault(Kind::LoseReplies, 0, 900);
    story.reserved(0, 1, 1);
    let missing = vec![(DEVICE.0, Some(DEVICE.1), "RATE_LIMITED".to_owned())];
    let answer = Answer::Reserved(Vec::new(), missing);
    story.asked(100, 1, Outcome::Failed("RATE_LIMITED".to_owned(), answer));
    assert_eq!(story.broken(), [Broken::RepeatDiffers]);
}

#[test]
fn a_repeat_that_forgets_what_is_spent() {
    // Two tries may have taken two packages, but of two the spent one comes first.
    let mut story = Story::with(&[1, 2]);
    story.fault(Kind::LoseReplies, 0, 900);
    story.reserved(0, 1, 1);
    story.spent(100, 1, 1);
    story.reserved(200, 1, 2);
    assert_eq!(story.broken(), [Broken::RepeatDiffers]);
}

#[test]
fn a_repeat_of_one_try_that_returns_another() {
    // No retry, so not two packages, whatever becomes of connections.
    let mut story = Story::with(&[1, 2]);
    story.fault(Kind::Cut, 0, 900);
    story.reserved(0, 1, 1);
    story.by_one_try();
    let other = Handed { until: Some(Micros(1_105_000)), ..handed(2) };
    story.got(100, 1, vec![other]);
    assert_eq!(story.broken(), [Broken::RepeatDiffers]);
    assert_eq!(story.verdict().remarks.calm_repeats, 1);
}

#[test]
fn a_spend_of_one_try_that_was_refused_and_done() {
    let mut story = Story::with(&[1]);
    story.fault(Kind::Cut, 0, 9000);
    story.reserved(0, 1, 1);
    story.reserved(TTL + 50, 2, 1);
    story.hold(TTL + 100, Action::Spend, 1, 1, refused("RESERVATION_LOST"));
    story.by_one_try();
    story.logged(1, 1);
    assert_eq!(story.broken(), [Broken::NobodySpent]);
}

#[test]
fn a_hold_is_looked_at_for_each_package() {
    let mut story = Story::with(&[1, 2]);
    let held = |number: u8| Handed { until: Some(Micros(1_005_000)), ..handed(number) };
    story.got(0, 1, vec![held(1)]);
    story.call(
        100,
        Call::Hold(crate::history::Hold {
            action: Action::Spend,
            reservation: crate::history::Reservation(1),
            packages: vec![(DEVICE, package(2)), (DEVICE, package(1))],
        }),
        Outcome::Failed(
            "RESERVATION_LOST".to_owned(),
            Answer::Held(vec![None, Some("RESERVATION_LOST".to_owned())], None),
        ),
    );
    story.logged(1, 2);
    assert_eq!(story.broken(), [Broken::HoldLost]);
}

#[test]
fn what_is_unknown_is_no_refusal() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.hold(500, Action::Spend, 1, 1, unknown());
    assert_eq!(story.broken(), []);
}
