//! What a reserve returned is what was asked for, alive, and in circulation.

use super::{
    Broken, Verdict,
    index::{Asked, Index},
    lasting::MARGIN,
};
use crate::history::{Device, Handed, Micros};
use std::collections::BTreeSet;

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for asked in index.asked.values().flatten() {
        let mut devices: BTreeSet<Device> = BTreeSet::new();
        for handed in asked.handed().unwrap_or_default() {
            if !devices.insert(handed.device) {
                let what = format!("{} of {}", asked.reserve.reservation, handed.device);
                verdict.note(Broken::TwoOfOneDevice, what);
            }
            asked_for(index, asked, handed, verdict);
            alive(asked, handed, verdict);
            in_circulation(index, asked, handed, verdict);
        }
    }
}

fn asked_for(index: &Index<'_>, asked: &Asked<'_>, handed: &Handed, verdict: &mut Verdict) {
    let uploaded = index.story(handed.package).and_then(|story| story.uploaded);
    let wrong = match uploaded {
        None => Some("nobody uploaded it"),
        Some((device, _)) if device != handed.device => Some("it is another device's"),
        Some((_, uploaded)) if uploaded.suite != handed.suite => Some("it has another suite"),
        Some((_, uploaded)) if uploaded.not_after != handed.not_after => {
            Some("it has another lifetime")
        }
        Some((_, uploaded)) if uploaded.last_resort != handed.last_resort => {
            Some("it is of another use")
        }
        Some(_) if !asked.reserve.covers(handed.device) => Some("the device is no target"),
        Some(_) if !asked.reserve.accepts(handed.suite) => Some("the suite is not accepted"),
        Some(_) if !handed.authentic => Some("its bytes are others"),
        Some(_) => None,
    };
    if let Some(wrong) = wrong {
        let what = format!(
            "{} of {} to {}: {wrong}",
            handed.package, handed.device, asked.reserve.reservation
        );
        verdict.note(Broken::NotAskedFor, what);
    }
}

fn alive(asked: &Asked<'_>, handed: &Handed, verdict: &mut Verdict) {
    if handed.spent {
        return;
    }
    // Of a hold that may be from before, and prolonged since, the begin is not known.
    let is_new = asked.calm && !asked.reserve.repeat;
    let begun = handed.until.filter(|_| is_new).map(|end| end.before(asked.reserve.ttl));
    let by_its_clock = begun.is_some_and(|begun| begun >= handed.not_after);
    let by_ours = asked.record.invoked >= handed.not_after.after(MARGIN);
    let record = asked.record;
    if by_its_clock || by_ours {
        let what = format!(
            "{} to {} at {}, alive until {}",
            handed.package, asked.reserve.reservation, record.invoked.0, handed.not_after.0
        );
        verdict.note(Broken::Stale, what);
    }
}

fn in_circulation(index: &Index<'_>, asked: &Asked<'_>, handed: &Handed, verdict: &mut Verdict) {
    let Some(story) = index.story(handed.package) else { return };
    let (invoked, replied) = (asked.record.invoked, asked.record.replied);
    let surely_gone = |revoked: &Micros| {
        // A last-resort package is not quarantined.
        let is_forgotten = match handed.last_resort {
            true => index.restores.may_forget(*revoked, replied),
            false => index.restores.may_undo(story, *revoked, replied),
        };
        invoked > *revoked && !is_forgotten
    };
    let revoked = story.revocations.iter().filter_map(|revocation| revocation.done);
    if let Some(revoked) = revoked.filter(surely_gone).min().filter(|_| !handed.spent) {
        let what = format!(
            "{}, revoked until {}, to {} at {}",
            handed.package, revoked.0, asked.reserve.reservation, asked.record.invoked.0
        );
        verdict.note(Broken::RevokedCameBack, what);
    }
}
