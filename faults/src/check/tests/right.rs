//! Right histories that look suspicious.

use super::story::{DEVICE, Story, TTL, handed, package, refused, unknown};
use crate::history::{Action, Answer, Call, Handed, Kind, Micros, Outcome};
use std::time::Duration;

/// Nothing is found.
fn is_right(story: &Story) {
    assert_eq!(story.verdict().violations, []);
}

#[test]
fn a_reply_that_comes_late() {
    // Held by the second when the first hears of its own hold, which had lapsed by then.
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.answered(1500);
    story.reserved(TTL + 100, 2, 1);
    is_right(&story);
}

#[test]
fn lapsed_and_taken_by_another() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.reserved(TTL + 5, 2, 1);
    story.hold(TTL + 50, Action::Spend, 1, 1, refused("RESERVATION_LOST"));
    story.spent(TTL + 100, 2, 1);
    is_right(&story);
}

#[test]
fn a_late_spend_that_nobody_came_before() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.spent(TTL * 3, 1, 1);
    is_right(&story);
}

#[test]
fn a_spend_that_is_repeated() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.spent(100, 1, 1);
    story.spent(TTL * 3, 1, 1);
    is_right(&story);
}

#[test]
fn a_spend_of_which_nobody_knows_is_there_or_not() {
    for is_there in [true, false] {
        let mut story = Story::with(&[1]);
        story.reserved(0, 1, 1);
        story.hold(100, Action::Spend, 1, 1, unknown());
        if is_there {
            story.logged(1, 1);
        }
        is_right(&story);
    }
}

#[test]
fn released_and_taken_while_the_release_was_answered() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    story.released(100, 1, 1);
    story.answered(300);
    // Its batch had begun before the release was asked for, and waited for it.
    story.held_until(90, 2, 1, 95 + TTL);
    story.answered(120);
    is_right(&story);
}

#[test]
fn a_release_that_races_with_a_repeat() {
    let mut story = Story::with(&[1, 2]);
    story.reserved(0, 1, 1);
    story.released(100, 1, 1);
    story.reserved(95, 1, 2);
    story.reserved(105, 2, 1);
    is_right(&story);
}

#[test]
fn a_release_that_comes_late_and_again() {
    // The first try of the release was held up by a fault, and hit the hold of the repeat.
    let mut story = Story::with(&[1]);
    story.fault(Kind::Cut, 90, 200);
    story.reserved(0, 1, 1);
    story.released(100, 1, 1);
    story.reserved(150, 1, 1);
    story.reserved(300, 2, 1);
    is_right(&story);
}

#[test]
fn two_tries_that_took_two_packages() {
    let mut story = Story::with(&[1, 2]);
    story.fault(Kind::LoseReplies, 0, 100);
    story.reserved(50, 1, 1);
    story.reserved(200, 1, 2);
    let verdict = story.verdict();
    assert_eq!(verdict.violations, []);
    assert_eq!(verdict.remarks.taken_by_two_tries, 1);
}

#[test]
fn a_spend_by_one_that_may_have_got_it_back() {
    // A try of the first reserve was frozen with its replica, and took the package when the second had given it back.
    let mut story = Story::with(&[1]);
    story.fault(Kind::FreezeService, 0, 1500);
    story.reserved(0, 1, 1);
    story.reserved(TTL + 100, 2, 1);
    story.released(TTL + 200, 2, 1);
    story.spent(TTL + 700, 1, 1);
    is_right(&story);
}

#[test]
fn a_repeat_after_the_hold_or_of_a_revoked_package() {
    let mut story = Story::with(&[1, 2]);
    story.reserved(0, 1, 1);
    story.reserved(TTL + 100, 1, 2);
    is_right(&story);

    let mut story = Story::with(&[1, 2]);
    story.reserved(0, 1, 1);
    story.call(50, Call::Revoke(DEVICE, Some(vec![package(1)])), unknown());
    story.reserved(100, 1, 2);
    is_right(&story);
}

#[test]
fn a_repeat_after_an_extension_that_was_longer() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    let until = Outcome::Ok(Answer::Held(vec![None], Some(Micros(3_100_000))));
    story.hold(100, Action::Extend(Duration::from_secs(3)), 1, 1, until);
    story.held_until(200, 1, 1, 3100);
    story.spent(300, 1, 1);
    is_right(&story);
}

#[test]
fn revoked_and_spent_under_an_earlier_hold() {
    let mut story = Story::with(&[1]);
    story.reserved(0, 1, 1);
    let revoked = Outcome::Ok(Answer::Nothing);
    story.call(50, Call::Revoke(DEVICE, None), revoked);
    story.spent(100, 1, 1);
    is_right(&story);
}

#[test]
fn an_upload_of_which_nobody_knows_is_there_or_not() {
    let mut story = Story::with(&[1]);
    story.upload(0, &[2], unknown());
    is_right(&story);
    story.stored(&[2]);
    story.reserved(100, 1, 2);
    is_right(&story);
}

#[test]
fn an_upload_of_which_nobody_knows_to_a_pool_that_never_was() {
    let mut story = Story::with(&[]);
    story.upload(0, &[2], unknown());
    story.0.books.pools.clear();
    is_right(&story);
}

#[test]
fn exhausted_while_somebody_may_hold_it() {
    let mut story = Story::with(&[1]);
    story.asked(0, 1, unknown());
    story.exhausted(100, 2);
    is_right(&story);
    // ... though that was long ago, if the fault that kept it lasted.
    let mut story = Story::with(&[1]);
    story.fault(Kind::FreezeService, 0, 5000);
    story.asked(0, 1, unknown());
    story.exhausted(5100, 2);
    is_right(&story);
}

#[test]
fn exhausted_while_all_that_is_not_spent_is_held() {
    let mut story = Story::with(&[1, 2]);
    story.reserved(0, 1, 1);
    story.spent(100, 1, 1);
    story.reserved(0, 2, 2);
    story.exhausted(200, 3);
    let verdict = story.verdict();
    assert_eq!(verdict.violations, []);
    assert_eq!(verdict.remarks.decided_exhausted, 1);
    // ... or may be held by another try of the one that has spent the other.
    let mut story = Story::with(&[1, 2]);
    story.fault(Kind::LoseReplies, -50, 50);
    story.reserved(0, 1, 1);
    story.spent(100, 1, 1);
    story.exhausted(200, 3);
    is_right(&story);
}

#[test]
fn the_last_resort_when_there_is_no_other() {
    let mut story = Story::with(&[]);
    let uploaded = crate::history::Uploaded {
        package: package(1),
        suite: 1,
        last_resort: true,
        not_after: handed(1).not_after,
    };
    let upload = crate::history::Upload { device: DEVICE, packages: vec![uploaded] };
    story.call(0, Call::Upload(upload), Outcome::Ok(Answer::Uploaded(vec![None])));
    let known =
        crate::history::Known { device: DEVICE, package: package(1), suite: 1, last_resort: true };
    story.0.books.known.push(known);
    let last = Handed { last_resort: true, until: Some(Micros(1_105_000)), ..handed(1) };
    for reservation in [1, 2] {
        story.got(100, reservation, vec![last]);
        story.0.books.spend_log.push(crate::history::Entry {
            device: DEVICE,
            package: package(1),
            suite: 1,
            reservation: crate::history::Reservation(reservation),
            own_group: true,
            last_resort: true,
            spent: false,
        });
    }
    is_right(&story);
}

#[test]
fn an_expired_package_that_is_forgotten() {
    let mut story = Story::with(&[1]);
    story.0.books.read_at = Micros(1_000_000_000);
    story.0.books.known.clear();
    story.0.books.one_time.clear();
    story.0.books.pools[0].purged = 1;
    is_right(&story);
}

#[test]
fn a_package_uploaded_again() {
    let mut story = Story::with(&[1]);
    story.upload(0, &[1], Outcome::Ok(Answer::Uploaded(vec![None])));
    story.reserved(100, 1, 1);
    story.spent(200, 1, 1);
    let spent = Some("REJECTION_REASON_ALREADY_SPENT".to_owned());
    story.upload(300, &[1], Outcome::Ok(Answer::Uploaded(vec![spent])));
    is_right(&story);
}
