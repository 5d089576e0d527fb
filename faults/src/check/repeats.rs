//! A repeated reserve returns the same packages for as long as they are held.

use super::{
    Broken, Verdict,
    index::{Asked, Index},
    lasting,
};
use crate::history::{Answer, Handed, Micros, Outcome};

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
        Some(Outcome::Ok(Answer::Reserved(handed, _))) => handed,
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
    let Some(again) = answer(later) else { return };
    let Some(is_spent) = what_is_certain(index, earlier, handed, later) else { return };
    let is_calm = earlier.iter().all(|asked| asked.calm) && !do_overlap(earlier);
    verdict.remarks.checked_repeats += 1;
    verdict.remarks.calm_repeats += u64::from(is_calm);

    let of_device = again.iter().filter(|again| again.device == handed.device);
    let alike: Vec<&Handed> = of_device.filter(|again| again.spent || !is_spent).collect();
    if alike.iter().any(|again| again.package == handed.package) {
        return;
    }
    // Two tries explain another package, and never none.
    if !is_calm && !alike.is_empty() {
        verdict.remarks.taken_by_two_tries += 1;
        return;
    }
    let what = format!(
        "{} had {} of {}, and at {} {}",
        later.reserve.reservation,
        handed.package,
        handed.device,
        later.record.invoked.0,
        if alike.is_empty() { "nothing like it" } else { "another" },
    );
    verdict.note(Broken::RepeatDiffers, what);
}

/// Whether some of these calls, put in the order in which they were made, were under way at the same time.
fn do_overlap(asked: &[Asked<'_>]) -> bool {
    asked.windows(2).any(|pair| pair[1].record.invoked <= pair[0].record.replied)
}

/// What a repeat brought; none if that is unknown, or says nothing of what its reservation has.
fn answer<'a>(later: &Asked<'a>) -> Option<&'a [Handed]> {
    match &later.record.outcome {
        Outcome::Ok(Answer::Reserved(handed, _)) => Some(handed),
        // All of the targets, or none.
        Outcome::Failed(..) if later.reserve.require_all => None,
        // Who calls too often is not heard. A limit that was asked about a device names it.
        Outcome::Failed(why, Answer::Reserved(_, missing))
            if why == "RATE_LIMITED" && missing.is_empty() =>
        {
            None
        }
        Outcome::Failed(..) => Some(&[]),
        Outcome::Ok(_) | Outcome::Unknown(_) => None,
    }
}

/// If a repeat must return what was handed out before, whether that must be spent.
fn what_is_certain(
    index: &Index<'_>,
    earlier: &[Asked<'_>],
    handed: &Handed,
    later: &Asked<'_>,
) -> Option<bool> {
    let story = index.story(handed.package)?;
    let (reservation, record) = (later.reserve.reservation, later.record);
    let first = earlier.first().map_or(record.invoked, |asked| asked.record.invoked);
    if handed.last_resort
        // The tombstone may be forgotten then, and with it the bytes.
        || handed.not_after <= record.replied.after(lasting::MARGIN)
        || index.restores.is_between(first, record.replied)
    {
        return None;
    }
    if lasting::is_spent(index, story, reservation, record) {
        return Some(true);
    }
    // What is revoked is held, and not handed out.
    lasting::hold(index, story, reservation, record)
        .filter(|_| !story.may_be_revoked_before(record.replied))
        .map(|_| false)
}
