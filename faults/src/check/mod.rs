//! Decides whether a history is explained by pools that hand each package out once and lose nothing.
//!
//! Only what is certain is called a violation: a call has its effect at some moment between its begin and its end, or, if it had
//! several tries or its outcome is unknown, later than that, or never.

mod answers;
mod books;
mod calm;
mod exhausted;
mod given_up;
mod holds;
mod incidents;
mod index;
mod lasting;
mod refused;
mod repeats;
mod restores;
mod spends;
#[cfg(test)]
mod tests;
mod too_late;
mod violation;
mod visible;

pub(crate) use violation::{Broken, Harm, Violation};

use crate::history::History;
use index::Index;

/// What is found in a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The broken promises.
    pub(crate) violations: Vec<Violation>,
    /// What is no violation, but worth knowing.
    pub(crate) remarks: Remarks,
}

/// What is no violation, but worth knowing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    /// Repeated reserves that found another of two packages which tries on two replicas had taken.
    pub(crate) taken_by_two_tries: u64,
    /// Reserves that had one try, which was over when they were answered.
    pub(crate) calm_reserves: u64,
    /// Answers "exhausted", or with the last resort, that could be checked against what the pool must have had.
    pub(crate) checked_exhausted: u64,
    /// Those of them that could have been shown to be false by a single package more.
    pub(crate) decided_exhausted: u64,
    /// Packages of repeated reserves that could be checked.
    pub(crate) checked_repeats: u64,
    /// Those of them whose reservation can have taken no other package of the device.
    pub(crate) calm_repeats: u64,
    /// Packages that were asked to be spent or extended while they certainly could be.
    pub(crate) checked_holds: u64,
    /// Packages that were revoked in the end, each of which somebody must have revoked.
    pub(crate) checked_revocations: u64,
}

impl Verdict {
    /// How many broken promises do such harm.
    pub(crate) fn count(&self, harm: Harm) -> usize {
        self.violations.iter().filter(|violation| violation.broken.harm() == harm).count()
    }

    fn note(&mut self, broken: Broken, what: String) {
        self.violations.push(Violation { broken, what });
    }
}

/// Checks a history.
pub(crate) fn check(history: &History) -> Verdict {
    let index = Index::of(history);
    let mut verdict = Verdict::default();
    holds::check(&index, &mut verdict);
    spends::check(&index, &mut verdict);
    answers::check(&index, &mut verdict);
    repeats::check(&index, &mut verdict);
    refused::check(&index, &mut verdict);
    exhausted::check(&index, &mut verdict);
    too_late::check(&index, &mut verdict);
    if history.books.were_read() {
        books::check(&index, &mut verdict);
        given_up::check(&index, &mut verdict);
    }
    visible::check(history, &mut verdict);
    incidents::check(history, &mut verdict);
    let asked = index.asked.values().flatten();
    verdict.remarks.calm_reserves = asked.map(|asked| u64::from(asked.calm)).sum();
    verdict
}
