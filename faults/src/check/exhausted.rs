//! A pool that has packages is not called exhausted.
//!
//! At any moment of a call, the packages that were surely in the pool are no fewer than those surely uploaded and not yet
//! possibly spent, revoked or expired, less those that reservations may hold: what a call with one try was answered, and any one
//! or two where several tries or an unknown outcome leave it open which. If that leaves any, there was one.

use super::{
    Broken, Verdict,
    index::{Asked, Index, Story},
    lasting::MARGIN,
};
use crate::history::{Answer, Device, Micros, Outcome, Package, Reservation, Target};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// Packages that live no longer than this after the call may have been held back.
const SHORT_LIFE: Duration = Duration::from_secs(5);

/// How long before a call another may have been made that still holds something.
const LOOK_BACK: Duration = Duration::from_secs(40);

/// What a reserve may hold of a pool.
#[derive(Debug, Clone, Copy)]
struct Claim {
    /// From when until when.
    from: Micros,
    to: Micros,
    reservation: Reservation,
    /// What it was answered with.
    known: Option<Package>,
    /// How many more packages it may hold, and nobody knows which.
    others: usize,
}

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    let claims = claims(index);
    for asked in index.asked.values().flatten() {
        let record = asked.record;
        for (device, from) in found_empty(index, asked) {
            let (Some(packages), Some(claims)) = (index.devices.get(&device), claims.get(&device))
            else {
                continue;
            };
            verdict.remarks.checked_exhausted += 1;
            let there = surely_there(index, asked, from, packages);
            let held = held_at_most(claims, asked, from, &there);
            let there = there.len();
            verdict.remarks.decided_exhausted += u64::from(there >= held);
            if there > held {
                let what = format!(
                    "{device} at {}, for {}: {there} packages, of which {held} may have been held",
                    record.invoked.0, asked.reserve.reservation
                );
                verdict.note(Broken::FalselyExhausted, what);
            }
        }
    }
}

/// The devices of which a call says, or shows by the last resort, that they had no one-time package at some moment since then.
fn found_empty(index: &Index<'_>, asked: &Asked<'_>) -> Vec<(Device, Micros)> {
    let record = asked.record;
    let Some(Answer::Reserved(handed, missing)) = record.outcome.answer() else {
        return Vec::new();
    };
    // An earlier try of the reservation may have brought the last resort.
    let tries = index.asked.get(&asked.reserve.reservation).into_iter().flatten();
    let first = tries.map(|asked| asked.record.invoked).min().unwrap_or(record.invoked);
    let shared = handed.iter().filter(|one| one.last_resort && !one.spent);
    let shared = shared.map(|one| (one.device, first));
    let exhausted = missing.iter().filter(|(_, _, reason)| reason == "POOL_EXHAUSTED");
    let exhausted = exhausted.filter_map(|(user, device, _)| Some(Device(*user, (*device)?)));
    shared.chain(exhausted.map(|device| (device, record.invoked))).collect()
}

/// The packages that were in the pool from a moment until the call was answered.
fn surely_there(
    index: &Index<'_>,
    asked: &Asked<'_>,
    from: Micros,
    packages: &[Package],
) -> HashSet<Package> {
    let record = asked.record;
    let is_there = |package: &&Package| {
        let Some(story) = index.story(**package) else { return false };
        let Some((_, uploaded)) = story.uploaded else { return false };
        !uploaded.last_resort
            && asked.reserve.accepts(uploaded.suite)
            && uploaded.not_after > record.replied.after(SHORT_LIFE)
            && was_surely_added(index, story, from, record.replied)
            && story.spendings.iter().all(|spending| spending.invoked > record.replied)
            && !story.may_be_revoked_before(record.replied)
    };
    packages.iter().filter(is_there).copied().collect()
}

/// Whether it was acknowledged before a moment, and is not quarantined since.
fn was_surely_added(index: &Index<'_>, story: &Story, moment: Micros, since: Micros) -> bool {
    story.uploads.iter().any(|(invoked, accepted)| {
        accepted.is_some_and(|accepted| accepted < moment)
            && !index.restores.is_between(*invoked, since)
    })
}

/// How many of these packages other calls may hold at some moment between then and the answer.
fn held_at_most(
    claims: &[Claim],
    asked: &Asked<'_>,
    from: Micros,
    there: &HashSet<Package>,
) -> usize {
    let to = asked.record.replied;
    let begun = claims.partition_point(|claim| claim.from <= to);
    let early = claims.partition_point(|claim| claim.from < from.before(LOOK_BACK));
    let live = claims[early..begun]
        .iter()
        .filter(|claim| claim.to >= from && claim.reservation != asked.reserve.reservation);
    let known = live.clone().filter_map(|claim| claim.known);
    let known: HashSet<Package> = known.filter(|package| there.contains(package)).collect();
    known.len() + live.map(|claim| claim.others).sum::<usize>()
}

/// What may be held of each pool, in the order in which it was asked for.
fn claims(index: &Index<'_>) -> HashMap<Device, Vec<Claim>> {
    let mut claims: HashMap<Device, Vec<Claim>> = HashMap::new();
    let mut of_user: HashMap<_, Vec<Device>> = HashMap::new();
    for device in index.devices.keys() {
        of_user.entry(device.0).or_default().push(*device);
    }
    for asked in index.asked.values().flatten() {
        let users = asked.reserve.targets.iter().map(|target| match target {
            Target::User(user) => *user,
            Target::Device(device) => device.0,
        });
        for device in users.filter_map(|user| of_user.get(&user)).flatten() {
            if asked.reserve.covers(*device) {
                claims.entry(*device).or_default().push(claim(index, asked, *device));
            }
        }
    }
    for claims in claims.values_mut() {
        claims.sort_unstable_by_key(|claim| claim.from);
    }
    claims
}

fn claim(index: &Index<'_>, asked: &Asked<'_>, device: Device) -> Claim {
    let reservation = asked.reserve.reservation;
    let mut to = asked.settled.after(asked.reserve.ttl);
    if let Some((extended, ttl)) = index.extended.get(&reservation) {
        to = to.max(extended.after(*ttl));
    }
    let handed = asked.handed().unwrap_or_default().iter();
    let mut known = handed.filter(|handed| handed.device == device && !handed.last_resort);
    let known = known.next().map(|handed| handed.package);
    let others = match &asked.record.outcome {
        // One try, which took this or nothing.
        Outcome::Ok(_) if asked.calm => 0,
        // One try, which had given back what it took when it was answered.
        Outcome::Failed(..) if asked.calm => {
            to = asked.record.replied;
            1
        }
        Outcome::Unknown(_) if asked.calm => 1,
        // Tries on two replicas may each take one.
        _ => 2 - usize::from(known.is_some()),
    };
    // Replicas know the time of the database but for a little.
    let to = to.after(MARGIN);
    Claim { from: asked.record.invoked, to, reservation, known, others }
}
