//! Each live hold is exclusive.

use super::{
    Broken, Verdict,
    index::{Held, Index, Story},
    lasting::MARGIN,
};
use crate::history::Package;

/// Compares the holds of each package. Their ends are those that the service gave, by the database's clock.
pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for (package, story) in &index.packages {
        for (place, one) in story.holds.iter().enumerate() {
            for other in story.holds[..place].iter().filter(|other| collide(story, one, other)) {
                let (first, last) =
                    (one.invoked.min(other.invoked), one.replied.max(other.replied));
                if index.restores.may_bring_back(story, first, last) {
                    continue;
                }
                verdict.note(Broken::HeldTwice, describe(*package, one, other));
            }
        }
    }
}

/// Whether both were acknowledged before either ended, or was asked to end.
///
/// Before that nothing is certain: a batch has the time at which it began, and may be executed when others have held the
/// package since and given it back.
fn collide(story: &Story, one: &Held, other: &Held) -> bool {
    let ended = story.ended_by(one.reservation).min(story.ended_by(other.reservation));
    let acknowledged = one.replied.max(other.replied);
    one.reservation != other.reservation
        && acknowledged.after(MARGIN) < one.end.min(other.end)
        && acknowledged < ended
}

fn describe(package: Package, one: &Held, other: &Held) -> String {
    format!(
        "{package} by {} until {}, and by {} until {}",
        one.reservation, one.end.0, other.reservation, other.end.0
    )
}
