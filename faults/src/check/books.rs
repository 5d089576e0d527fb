//! What the database has in the end is what was acknowledged.

use super::{Broken, Verdict, index::Index};
use crate::history::{Answer, Call, Device, Entry, Outcome, Package, Reservation};
use std::collections::{HashMap, HashSet};

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    let places = places(index);
    for foreign in &index.history.books.foreign {
        verdict.note(Broken::Foreign, foreign.clone());
    }
    fences(index, verdict);
    uploads(index, &places, verdict);
    spend_log(index, verdict);
    last_resort(index, verdict);
    pools(index, &places, verdict);
}

/// Why a fence is raised when the database was put back: a restore makes it anew.
const RESTORED: &str = "other_database";

/// There is a fence for each time that the database was put back, and no other.
fn fences(index: &Index<'_>, verdict: &mut Verdict) {
    let (least, most) = index.restores.count().into_inner();
    let fences = index.history.books.fences.iter();
    let (restored, others): (Vec<_>, Vec<_>) = fences.partition(|cause| *cause == RESTORED);
    for cause in others.into_iter().chain(restored.iter().copied().skip(most)) {
        verdict.note(Broken::FalseAlarm, cause.clone());
    }
    for _ in restored.len()..least {
        verdict.note(Broken::NoFence, format!("{} of {least} times", restored.len()));
    }
}

/// In how many places each one-time package is.
fn places(index: &Index<'_>) -> HashMap<Package, u32> {
    let books = &index.history.books;
    let spent = books.spend_log.iter().filter(|entry| entry.spent && !entry.last_resort);
    let mut places = HashMap::new();
    let all = books.one_time.iter().chain(&books.revoked).copied();
    for package in all.chain(spent.map(|entry| entry.package)) {
        *places.entry(package).or_default() += 1;
    }
    places
}

/// Acknowledged uploads are there, in one place; and nothing is there that nobody uploaded.
fn uploads(index: &Index<'_>, places: &HashMap<Package, u32>, verdict: &mut Verdict) {
    let books = &index.history.books;
    let known: HashSet<Package> = books.known.iter().map(|known| known.package).collect();
    for (package, story) in &index.packages {
        let Some((device, uploaded)) = story.uploaded else { continue };
        let found = places.get(package).copied().unwrap_or_default();
        let forgotten = uploaded.not_after < books.read_at;
        let accepted = index.restores.surely_has(story, books.read_at, books.read_at);
        if accepted && !forgotten && !known.contains(package) {
            verdict.note(Broken::UploadLost, format!("{package} of {device}"));
        } else if !uploaded.last_resort && known.contains(package) && found != 1 || found > 1 {
            verdict.note(Broken::Misplaced, format!("{package} of {device} is in {found} places"));
        }
    }
    for known in &books.known {
        let uploaded = index.story(known.package).and_then(|story| story.uploaded);
        let same = uploaded.is_some_and(|(device, uploaded)| {
            device == known.device
                && uploaded.suite == known.suite
                && uploaded.last_resort == known.last_resort
        });
        if !same {
            verdict.note(Broken::Foreign, format!("{} of {}", known.package, known.device));
        }
    }
}

/// Acknowledged spends are in the spend log, and what is there was asked for.
fn spend_log(index: &Index<'_>, verdict: &mut Verdict) {
    let mut spent: HashMap<Package, Vec<&Entry>> = HashMap::new();
    for entry in index.history.books.spend_log.iter().filter(|entry| entry.spent) {
        spent.entry(entry.package).or_default().push(entry);
        if !entry.own_group || !may_have_spent(index, entry) {
            let what = format!("{} by {}", entry.package, entry.reservation);
            verdict.note(Broken::NobodySpent, what);
        }
    }
    for entries in spent.values().filter(|entries| entries.len() > 1) {
        if !entries[0].last_resort {
            let what = format!("{}, in the spend log", entries[0].package);
            verdict.note(Broken::SpentTwice, what);
        }
    }
    for (package, story) in &index.packages {
        for spending in story.spendings.iter().filter(|spending| spending.done == Some(true)) {
            if index.restores.may_forget(spending.replied, index.history.books.read_at) {
                continue;
            }
            let entries = spent.get(package).into_iter().flatten();
            if !entries.into_iter().any(|entry| entry.reservation == spending.reservation) {
                let what = format!("{package} by {}", spending.reservation);
                verdict.note(Broken::SpendLost, what);
            }
        }
    }
}

/// Whether the reservation was asked to spend it, by a call that was not surely refused.
fn may_have_spent(index: &Index<'_>, entry: &Entry) -> bool {
    index.story(entry.package).is_some_and(|story| {
        story.spendings.iter().any(|spending| {
            spending.reservation == entry.reservation
                && (spending.done != Some(false) || !spending.calm)
        })
    })
}

/// Every hand-out of a last-resort package is in the spend log.
fn last_resort(index: &Index<'_>, verdict: &mut Verdict) {
    let entries = index.history.books.spend_log.iter().filter(|entry| entry.last_resort);
    let logged: HashSet<(Package, Reservation)> =
        entries.map(|entry| (entry.package, entry.reservation)).collect();
    for record in &index.history.records {
        let (Call::Reserve(reserve), Outcome::Ok(Answer::Reserved(handed, _))) =
            (&record.call, &record.outcome)
        else {
            continue;
        };
        if index.restores.may_forget(record.replied, index.history.books.read_at) {
            continue;
        }
        for handed in handed.iter().filter(|handed| handed.last_resort) {
            if !logged.contains(&(handed.package, reserve.reservation)) {
                let what = format!("{} to {}", handed.package, reserve.reservation);
                verdict.note(Broken::LastResortNotLogged, what);
            }
        }
    }
}

/// Accepted = available + reserved + spent + expired + revoked + purged, and as many as were acknowledged.
fn pools(index: &Index<'_>, places: &HashMap<Package, u32>, verdict: &mut Verdict) {
    let (mut there, mut acknowledged, mut asked) = (Counts::new(), Counts::new(), Counts::new());
    for (package, story) in &index.packages {
        let Some((device, uploaded)) = story.uploaded else { continue };
        if uploaded.last_resort {
            continue;
        }
        let pool = (device, uploaded.suite);
        *there.entry(pool).or_default() += i64::from(places.get(package).copied().unwrap_or(0));
        let read_at = index.history.books.read_at;
        let accepted = index.restores.surely_has(story, read_at, read_at);
        *acknowledged.entry(pool).or_default() += i64::from(accepted);
        *asked.entry(pool).or_default() += 1;
    }
    // One that is not counted, though packages were uploaded to it, has accepted none.
    let mut counted: HashMap<(Device, u16), (i64, i64)> =
        asked.keys().map(|pool| (*pool, (0, 0))).collect();
    for pool in &index.history.books.pools {
        counted.insert((pool.device, pool.suite), (pool.accepted, pool.purged));
    }
    for (pool, (accepted, purged)) in counted {
        let of = |counts: &Counts| counts.get(&pool).copied().unwrap_or(0);
        let (there, acknowledged, asked) = (of(&there), of(&acknowledged), of(&asked));
        if accepted - purged != there || !(acknowledged..=asked).contains(&accepted) {
            let (device, suite) = pool;
            let what = format!(
                "{device}, cipher suite {suite}: {accepted} accepted and {purged} purged of {asked} uploaded, \
                 {acknowledged} acknowledged, {there} there"
            );
            verdict.note(Broken::Unbalanced, what);
        }
    }
}

/// Packages of each pool.
type Counts = HashMap<(Device, u16), i64>;
