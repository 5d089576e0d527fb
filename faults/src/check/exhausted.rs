//! A pool that has packages is not called exhausted.
//!
//! At any moment of a call, the packages that were surely in the pool are no fewer than those surely uploaded and not yet
//! possibly spent, revoked or expired, less one for each reservation that may hold one. If that leaves any, there was one.

use super::{
    Broken, Verdict,
    index::{Asked, Index},
};
use crate::history::{Answer, Device, Micros, Package, Reservation};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// Packages that live no longer than this after the call may have been held back.
const SHORT_LIFE: Duration = Duration::from_secs(5);

/// How long before a call another may have been made that still holds something.
const LOOK_BACK: Duration = Duration::from_secs(40);

/// What a pool's reserves may have done: from when until when each may hold something, in the order of their begins.
type Claims = Vec<(Micros, Micros, Reservation, usize)>;

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    let claims = claims(index);
    for asked in index.asked.values().flatten() {
        let record = asked.record;
        // Holds that were written by a clock that was ahead last longer than their reservations asked for.
        if index.calm.is_off_clock(record.invoked.before(LOOK_BACK), record.replied) {
            continue;
        }
        for device in found_empty(asked) {
            let (Some(packages), Some(claims)) = (index.devices.get(&device), claims.get(&device))
            else {
                continue;
            };
            verdict.remarks.checked_exhausted += 1;
            let there = surely_there(index, asked, packages);
            let held = held_at_most(claims, asked);
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

/// The devices of which a call says, or shows by the last resort, that they have no one-time package.
fn found_empty(asked: &Asked<'_>) -> Vec<Device> {
    let Some(Answer::Reserved(handed, missing)) = asked.record.outcome.answer() else {
        return Vec::new();
    };
    let shared = handed.iter().filter(|one| one.last_resort && !one.spent).map(|one| one.device);
    // Of a repeat, the last resort may be from before.
    let shared = shared.filter(|_| !asked.reserve.repeat);
    let exhausted = missing.iter().filter(|(_, _, reason)| reason == "POOL_EXHAUSTED");
    let exhausted = exhausted.filter_map(|(user, device, _)| Some(Device(*user, (*device)?)));
    shared.chain(exhausted).collect()
}

fn surely_there(index: &Index<'_>, asked: &Asked<'_>, packages: &[Package]) -> usize {
    let record = asked.record;
    let is_there = |package: &&Package| {
        let Some(story) = index.story(**package) else { return false };
        let Some((_, uploaded)) = story.uploaded else { return false };
        !uploaded.last_resort
            && asked.reserve.accepts(uploaded.suite)
            && uploaded.not_after > record.replied.after(SHORT_LIFE)
            && story.accepted().is_some_and(|accepted| accepted < record.invoked)
            && story.spendings.iter().all(|spending| spending.invoked > record.replied)
            && !story.may_be_revoked_before(record.replied)
    };
    packages.iter().filter(is_there).count()
}

/// How many packages other calls may hold at some moment of this one.
fn held_at_most(claims: &Claims, asked: &Asked<'_>) -> usize {
    let (from, to) = (asked.record.invoked, asked.record.replied);
    let begun = claims.partition_point(|(begun, ..)| *begun <= to);
    let early = claims.partition_point(|(begun, ..)| *begun < from.before(LOOK_BACK));
    let mut held: BTreeMap<Reservation, usize> = BTreeMap::new();
    for (_, end, reservation, packages) in &claims[early..begun] {
        if *end >= from && *reservation != asked.reserve.reservation {
            *held.entry(*reservation).or_default() += packages;
        }
    }
    held.values().sum()
}

fn claims(index: &Index<'_>) -> HashMap<Device, Claims> {
    let mut claims: HashMap<Device, Claims> = HashMap::new();
    let mut of_user: HashMap<_, Vec<Device>> = HashMap::new();
    for device in index.devices.keys() {
        of_user.entry(device.0).or_default().push(*device);
    }
    for asked in index.asked.values().flatten() {
        let reservation = asked.reserve.reservation;
        let mut end = asked.settled.after(asked.reserve.ttl);
        if let Some((extended, ttl)) = index.extended.get(&reservation) {
            end = end.max(extended.after(*ttl));
        }
        // Tries on two replicas may each take one.
        let packages = if asked.calm { 1 } else { 2 };
        let users = asked.reserve.targets.iter().map(|target| match target {
            crate::history::Target::User(user) => *user,
            crate::history::Target::Device(device) => device.0,
        });
        for device in users.filter_map(|user| of_user.get(&user)).flatten() {
            if asked.reserve.covers(*device) {
                let claim = (asked.record.invoked, end, reservation, packages);
                claims.entry(*device).or_default().push(claim);
            }
        }
    }
    for claims in claims.values_mut() {
        claims.sort_unstable();
    }
    claims
}
