//! Each live hold is exclusive.

use super::{
    Broken, Verdict,
    index::{Held, Index, Story},
};
use crate::history::Package;
use std::time::Duration;

/// How far times of one clock may be off: they are rounded on their way.
const ROUNDING: Duration = Duration::from_millis(1);

/// Compares the holds of each package. Their times are those that the service gave, by clocks that agree unless one jumped.
pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for (package, story) in &index.packages {
        for (place, one) in story.holds.iter().enumerate() {
            for other in story.holds[..place].iter().filter(|other| collide(story, one, other)) {
                if index
                    .calm
                    .is_off_clock(one.invoked.min(other.invoked), one.replied.max(other.replied))
                {
                    let acknowledged = one.replied.max(other.replied);
                    let at_once = acknowledged < one.end.min(other.end);
                    verdict.remarks.early_by_clock += u64::from(at_once);
                } else {
                    verdict.note(Broken::HeldTwice, describe(*package, one, other));
                }
            }
        }
    }
}

/// Whether both lasted at the same time, and both were acknowledged before any of the reservations asked to end its hold.
///
/// By when the service has executed what ends a hold, its times don't tell: a batch that waits for another has the time at
/// which it began.
fn collide(story: &Story, one: &Held, other: &Held) -> bool {
    let ended = story.ended_by(one.reservation).min(story.ended_by(other.reservation));
    one.reservation != other.reservation
        && one.start.max(other.start).after(ROUNDING) < one.end.min(other.end)
        && one.replied.max(other.replied) < ended
}

fn describe(package: Package, one: &Held, other: &Held) -> String {
    format!(
        "{package} by {} from {} to {}, and by {} from {} to {}",
        one.reservation, one.start.0, one.end.0, other.reservation, other.start.0, other.end.0
    )
}
