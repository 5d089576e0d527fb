//! A repeated reserve returns the same packages for as long as they are held.

use super::{
    Broken, Verdict,
    index::{Asked, Index},
};
use crate::history::{Handed, Micros, Outcome};
use std::time::Duration;

/// How far a call must be from the end of a hold, for the hold to last while it is made.
const MARGIN: Duration = Duration::from_millis(50);

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for asked in index.asked.values() {
        for (place, later) in asked.iter().enumerate().skip(1) {
            let earlier = &asked[..place];
            for handed in latest(earlier, later.record.invoked) {
                compare(index, earlier, handed, later, verdict);
            }
        }
    }
}

/// What the latest answer before a moment had handed out.
fn latest<'a>(asked: &[Asked<'a>], moment: Micros) -> &'a [Handed] {
    let before = asked.iter().filter(|asked| asked.record.replied < moment);
    let answered = before.filter(|asked| asked.record.outcome.is_ok());
    let latest = answered.max_by_key(|asked| asked.record.replied);
    match latest.map(|asked| &asked.record.outcome) {
        Some(Outcome::Ok(crate::history::Answer::Reserved(handed, _))) => handed,
        _ => &[],
    }
}

fn compare(
    index: &Index<'_>,
    earlier: &[Asked<'_>],
    handed: &Handed,
    later: &Asked<'_>,
    verdict: &mut Verdict,
) {
    let Some(story) = index.story(handed.package) else { return };
    let (reservation, record) = (later.reserve.reservation, later.record);
    let spent = story.spendings.iter().any(|spending| {
        spending.reservation == reservation
            && spending.done == Some(true)
            && spending.replied < record.invoked
    });
    let holds = story
        .holds
        .iter()
        .filter(|hold| hold.reservation == reservation && hold.replied < record.invoked);
    let end = holds.map(|hold| hold.end).max();
    let lasts = spent || end.is_some_and(|end| record.replied.after(MARGIN) < end);
    let first = earlier.first().map_or(record.invoked, |asked| asked.record.invoked);
    if handed.last_resort
        || !lasts
        || story.ended_by(reservation) <= record.replied
        || !spent && story.may_be_revoked_before(record.replied)
        // The tombstone may be forgotten then, and with it the bytes.
        || handed.not_after <= record.replied.after(MARGIN)
        || index.calm.is_off_clock(first, record.replied)
    {
        return;
    }
    let same = match &record.outcome {
        Outcome::Ok(_) => later
            .handed()
            .unwrap_or_default()
            .iter()
            .any(|again| again.package == handed.package && (again.spent || !spent)),
        // All of the targets, or none.
        Outcome::Failed(..) if later.reserve.require_all => return,
        Outcome::Failed(..) => false,
        Outcome::Unknown(_) => return,
    };
    verdict.remarks.checked_repeats += 1;
    if same {
        return;
    }
    if earlier.iter().all(|asked| asked.calm) {
        let what = format!(
            "{reservation} had {} of {}, and at {} something else",
            handed.package, handed.device, record.invoked.0
        );
        verdict.note(Broken::RepeatDiffers, what);
    } else {
        verdict.remarks.taken_by_two_tries += 1;
    }
}
