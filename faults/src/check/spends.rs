//! A package is spent once, and never seen again.

use super::{
    Broken, Verdict,
    index::{Index, Spending, Story},
    lasting::MARGIN,
};
use crate::history::{Micros, Package};
use std::collections::BTreeSet;

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for (package, story) in &index.packages {
        if story.uploaded.is_some_and(|(_, uploaded)| uploaded.last_resort) {
            continue;
        }
        spent_once(index, *package, story, verdict);
        stays_spent(index, *package, story, verdict);
        for spending in story.spendings.iter().filter(|spending| spending.done == Some(true)) {
            held_when_spent(index, *package, story, spending, verdict);
            alive_when_spent(*package, story, spending, verdict);
        }
    }
}

fn spent_once(index: &Index<'_>, package: Package, story: &Story, verdict: &mut Verdict) {
    let done = || story.spendings.iter().filter(|spending| spending.done == Some(true));
    let spenders: BTreeSet<_> = done().map(|spending| spending.reservation).collect();
    let first = done().map(|spending| spending.replied).min().unwrap_or_default();
    let last = done().map(|spending| spending.replied).max().unwrap_or_default();
    if spenders.len() > 1 && !index.restores.may_undo(story, first, last) {
        let spenders: Vec<String> = spenders.iter().map(ToString::to_string).collect();
        verdict.note(Broken::SpentTwice, format!("{package} by {}", spenders.join(" and ")));
    }
}

/// What is spent is neither handed out nor accepted again.
fn stays_spent(index: &Index<'_>, package: Package, story: &Story, verdict: &mut Verdict) {
    let Some(spent) = story.spent() else { return };
    for hold in story.holds.iter().filter(|hold| hold.reservation != spent.reservation) {
        if hold.invoked > spent.replied
            && !index.restores.may_undo(story, spent.replied, hold.replied)
        {
            let what = format!(
                "{package}, spent by {} until {}, to {} at {}",
                spent.reservation, spent.replied.0, hold.reservation, hold.invoked.0
            );
            verdict.note(Broken::SpentCameBack, what);
        }
    }
    let revoked = story.revocations.iter().filter_map(|revocation| revocation.done).min();
    let gone = revoked.map_or(spent.replied, |revoked| revoked.min(spent.replied));
    accepted_since(index, package, story, gone, verdict);
}

fn accepted_since(
    index: &Index<'_>,
    package: Package,
    story: &Story,
    gone: Micros,
    verdict: &mut Verdict,
) {
    for (invoked, accepted) in &story.uploads {
        let Some(accepted) = accepted else { continue };
        // What the database has forgotten it can't refuse.
        if *invoked > gone && !index.restores.may_forget(gone, *accepted) {
            let what = format!("{package}, gone at {}, uploaded at {}", gone.0, invoked.0);
            verdict.note(Broken::SpentAccepted, what);
        }
    }
}

/// Whoever spends a package is the last that it was handed to.
fn held_when_spent(
    index: &Index<'_>,
    package: Package,
    story: &Story,
    spending: &Spending,
    verdict: &mut Verdict,
) {
    let Some(asked) = index.asked.get(&spending.reservation) else {
        verdict.note(Broken::NobodySpent, format!("{package} by {}", spending.reservation));
        return;
    };
    let first = story.spendings.iter().filter(|one| one.reservation == spending.reservation);
    let first = first.map(|one| one.invoked).min().unwrap_or(spending.invoked);
    for hold in story.holds.iter().filter(|hold| hold.reservation != spending.reservation) {
        // What the reservation asked for before can't have brought the package back to it.
        let surely_since = asked
            .iter()
            .all(|asked| asked.settled < hold.invoked || asked.record.invoked > spending.replied);
        let brought_back = index.restores.may_bring_back(story, hold.invoked, spending.replied);
        if surely_since && hold.replied < first && !brought_back {
            let what = format!(
                "{package} by {} at {}, handed to {} until {}",
                spending.reservation, first.0, hold.reservation, hold.replied.0
            );
            verdict.note(Broken::SpentThoughLost, what);
        }
    }
}

/// Nothing is spent after its lifetime, but what was spent before.
fn alive_when_spent(package: Package, story: &Story, spending: &Spending, verdict: &mut Verdict) {
    let Some((_, uploaded)) = story.uploaded else { return };
    let first = story.spendings.iter().filter(|one| one.reservation == spending.reservation);
    let is_first = first.map(|one| one.invoked).min() == Some(spending.invoked);
    if is_first && spending.invoked > uploaded.not_after.after(MARGIN) {
        let what = format!("{package} was spent by {} too late", spending.reservation);
        verdict.note(Broken::Stale, what);
    }
}
