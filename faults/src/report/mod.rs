//! What a run has shown, as a table or as JSON.

mod counts;
mod faults;

use crate::{
    check::{Harm, Remarks, Verdict, Violation},
    error::Outcome,
    history::{History, Kind},
};
use counts::{Counts, Handling};
use faults::{Suffered, Sufferings};
use serde::Serialize;
use std::collections::BTreeMap;

/// How many violations are told of, of each kind.
const SHOWN: usize = 5;

/// What a run has shown.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Calls of clients, retries not counted.
    operations: usize,
    /// Faults that were injected.
    faults: usize,
    /// Calls of which nobody knows what came.
    unknown: usize,
    /// Violations by which a package serves two.
    doubled: usize,
    /// Violations by which something acknowledged is gone.
    lost: usize,
    /// Other violations.
    wrong: usize,
    /// Calls that failed otherwise than by a definite answer of the service.
    visible_failures: usize,
    /// Whether enough happened to show anything.
    shows_something: bool,
    handed_out: usize,
    spent: usize,
    uploaded: usize,
    seed: u64,
    seconds: u64,
    /// Calls that succeeded before the first fault.
    ok_before: usize,
    /// Calls that succeeded after the last fault.
    ok_after: usize,
    by_fault: BTreeMap<String, Suffered>,
    by_operation: BTreeMap<String, Handling>,
    remarks: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
}

impl Report {
    /// Counts what there is in a history.
    pub(crate) fn of(
        history: &History,
        verdict: &Verdict,
        seed: u64,
        seconds: u64,
        kinds: &[Kind],
    ) -> Self {
        let counts = Counts::of(&history.records);
        let suffered = Sufferings::of(history);
        let interrupted = history.faults.iter().any(|fault| fault.kind.interrupts());
        let unknown = counts.unknown;
        let shows_something = counts.handed_out > 0
            && counts.spent > 0
            && counts.uploaded > 0
            && (kinds.is_empty() || !history.faults.is_empty())
            && (!interrupted || unknown > 0);
        Self {
            operations: history.records.len(),
            faults: history.faults.len(),
            unknown,
            doubled: verdict.count(Harm::Doubled),
            lost: verdict.count(Harm::Lost),
            wrong: verdict.count(Harm::Wrong),
            visible_failures: unknown,
            shows_something,
            handed_out: counts.handed_out,
            spent: counts.spent,
            uploaded: counts.uploaded,
            seed,
            seconds,
            ok_before: suffered.before,
            ok_after: suffered.after,
            by_fault: suffered.by_fault,
            by_operation: counts.by_operation,
            remarks: remarks(verdict.remarks),
            violations: first(&verdict.violations),
        }
    }

    /// How the run ended.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.doubled + self.lost + self.wrong > 0 {
            Outcome::Broken
        } else if self.shows_something {
            Outcome::Kept
        } else {
            Outcome::ShowsNothing
        }
    }

    /// Prints the table, to standard error if the JSON object is wanted.
    pub(crate) fn print(&self, json: bool) {
        if json {
            eprint!("{}", self.table());
            println!("{}", serde_json::to_string(self).unwrap_or_default());
        } else {
            print!("{}", self.table());
        }
    }

    fn table(&self) -> String {
        let mut table = format!(
            "\nseed {}, {} s: {} operations, {} faults\n\n{:<24}{:>10}{:>10}{:>10}{:>10}\n",
            self.seed,
            self.seconds,
            self.operations,
            self.faults,
            "fault",
            "times",
            "seconds",
            "ok",
            "unknown"
        );
        for (fault, Suffered { times, seconds, ok, unknown }) in &self.by_fault {
            table += &format!("{fault:<24}{times:>10}{seconds:>10.1}{ok:>10}{unknown:>10}\n");
        }
        table += &format!("\n{:<24}{:>10}{:>10}{:>10}\n", "operation", "ok", "refused", "unknown");
        for (operation, Handling { ok, refused, unknown }) in &self.by_operation {
            let refused: usize = refused.values().sum();
            let unknown: usize = unknown.values().sum();
            table += &format!("{operation:<24}{ok:>10}{refused:>10}{unknown:>10}\n");
        }
        table += &format!(
            "\n{} packages uploaded, {} handed out, {} spent\n",
            self.uploaded, self.handed_out, self.spent
        );
        for (remark, count) in &self.remarks {
            table += &format!("{count} {remark}\n");
        }
        table += &format!("\ndoubled {}, lost {}, wrong {}\n", self.doubled, self.lost, self.wrong);
        for violation in &self.violations {
            table += &format!("  {violation}\n");
        }
        if !self.shows_something {
            table += "too little happened to show anything\n";
        }
        table
    }
}

/// The first violations of each kind.
fn first(violations: &[Violation]) -> Vec<String> {
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    let is_shown = |violation: &&Violation| {
        let count = seen.entry(violation.broken).or_default();
        *count += 1;
        *count <= SHOWN
    };
    violations.iter().filter(is_shown).map(ToString::to_string).collect()
}

fn remarks(remarks: Remarks) -> BTreeMap<&'static str, u64> {
    let Remarks {
        taken_by_two_tries,
        calm_reserves,
        checked_exhausted,
        decided_exhausted,
        checked_repeats,
        calm_repeats,
        checked_holds,
        checked_revocations,
    } = remarks;
    BTreeMap::from([
        ("repeats_of_reserves_whose_tries_took_two", taken_by_two_tries),
        ("reserves_in_calm", calm_reserves),
        ("exhausted_answers_checked", checked_exhausted),
        ("exhausted_answers_decided", decided_exhausted),
        ("repeats_checked", checked_repeats),
        ("repeats_checked_in_calm", calm_repeats),
        ("spends_and_extends_checked", checked_holds),
        ("revocations_checked", checked_revocations),
    ])
}
