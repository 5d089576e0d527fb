//! What a database may have forgotten that was restored from a dump.
//!
//! It has what was acknowledged before the dump was begun. What was acknowledged since, and before it was put back, may be
//! gone; so may what a package's device vouched for. What stays strict: a package that was handed out, spent or revoked does not
//! come back, unless its device has vouched for it since; and one that was spent or revoked before the dump never does.

use super::index::Story;
use crate::history::{Fault, Micros};
use std::{ops::RangeInclusive, time::Duration};

/// How much later than the database had it, an answer may have reached a client.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// A restore.
#[derive(Debug, Clone, Copy)]
struct Restore {
    /// When the dump was begun.
    dumped: Micros,
    /// Between these the database was put back.
    from: Micros,
    to: Micros,
    /// Whether it is not known that the database was put back.
    failed: bool,
}

/// The restores of a history.
#[derive(Debug, Default)]
pub(super) struct Restores(Vec<Restore>);

impl Restores {
    pub(super) fn of(faults: &[Fault]) -> Self {
        let restore = |fault: &Fault| {
            let from = fault.went_back?;
            let (dumped, to) = (fault.from, fault.to.after(ON_ITS_WAY));
            Some(Restore { dumped, from, to, failed: fault.failed })
        };
        Self(faults.iter().filter_map(restore).collect())
    }

    /// How often the database was put back, at least and at most.
    pub(super) fn count(&self) -> RangeInclusive<usize> {
        let surely = self.0.iter().filter(|restore| !restore.failed).count();
        surely..=self.0.len()
    }

    /// Whether what was acknowledged at one moment may be forgotten at another.
    pub(super) fn may_forget(&self, acknowledged: Micros, later: Micros) -> bool {
        self.0.iter().any(|restore| restore.may_forget(acknowledged) && restore.from <= later)
    }

    /// Whether a package was surely accepted before a moment, and is not forgotten at a later one.
    pub(super) fn surely_has(&self, story: &Story, one: Micros, later: Micros) -> bool {
        let mut accepted = story.uploads.iter().filter_map(|(_, accepted)| *accepted);
        accepted.any(|accepted| accepted < one && !self.may_forget(accepted, later))
    }

    /// Whether the database may have been put back between two moments: what was in the pool at the first is quarantined at
    /// the second, or unknown.
    pub(super) fn is_between(&self, one: Micros, later: Micros) -> bool {
        self.0.iter().any(|restore| restore.to >= one && restore.from <= later)
    }

    /// Whether a package that was held at one moment may be in circulation at a later one: it was quarantined, and its device
    /// has vouched for it since.
    pub(super) fn may_bring_back(&self, story: &Story, one: Micros, later: Micros) -> bool {
        self.0.iter().any(|restore| restore.to >= one && restore.is_vouched_for(story, later))
    }

    /// Whether a package may be in circulation at a later moment although it was spent or revoked: the database has forgotten
    /// what it acknowledged then, and its device has vouched for the package since.
    pub(super) fn may_undo(&self, story: &Story, acknowledged: Micros, later: Micros) -> bool {
        let mut restores = self.0.iter();
        restores
            .any(|restore| restore.may_forget(acknowledged) && restore.is_vouched_for(story, later))
    }
}

impl Restore {
    /// Whether what was acknowledged then may not be in the dump, and is gone afterwards.
    fn may_forget(&self, acknowledged: Micros) -> bool {
        (self.dumped..=self.to).contains(&acknowledged)
    }

    /// Whether its device may have vouched for a package since, before that moment.
    fn is_vouched_for(&self, story: &Story, later: Micros) -> bool {
        let mut named = story.named.iter();
        self.from <= later
            && named.any(|(invoked, settled)| *settled >= self.from && *invoked <= later)
    }
}
