//! What `load` tells.

use super::counts::{CountSummary, Counts};
use crate::{
    check::Checker,
    cli::LoadOptions,
    drive::Failures,
    error::{Error, Outcome},
    report::{print_json, rounded},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write};

/// How long the longest bar of a histogram is.
const BAR: u64 = 50;

/// What `load` found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    in_flight: u32,
    users: u32,
    seed: u64,
    seconds: f64,
    /// By operation; those that were called.
    operations: BTreeMap<&'static str, CountSummary>,
    violations: u64,
    failed_calls: u64,
    #[serde(skip)]
    messages: Vec<String>,
}

impl Report {
    /// Sums up.
    pub(super) fn new(
        options: &LoadOptions,
        seconds: f64,
        counts: &Counts,
        checker: &Checker,
        failures: &Failures,
    ) -> Self {
        let called = counts.all().into_iter().filter(|(_, count)| count.so_far() != (0, 0));
        let violations = checker.violations();
        let violated = violations.first().into_iter().map(|what| format!("violated: {what}"));
        let failed = failures.first().into_iter().map(|what| format!("failed: {what}"));
        Self {
            in_flight: options.in_flight,
            users: options.users,
            seed: options.run.seed,
            seconds: rounded(seconds),
            operations: called.map(|(name, count)| (name, count.summary(seconds))).collect(),
            violations: violations.count(),
            failed_calls: failures.count(),
            messages: violated.chain(failed).collect(),
        }
    }

    /// Prints it, and says how it ended.
    pub(super) fn tell(&self, json: bool) -> Result<Outcome, Error> {
        for message in &self.messages {
            eprintln!("{message}");
        }
        if json {
            print_json(self)?;
        } else {
            println!("{}", self.text());
        }
        let broken = self.violations > 0 || self.failed_calls > 0;
        Ok(if broken { Outcome::Broken } else { Outcome::Kept })
    }

    /// A table, and a histogram for each operation.
    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text can't fail.
        let _ = writeln!(
            text,
            "\n{:10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "done", "refused", "a second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"
        );
        for (name, one) in &self.operations {
            let _ = writeln!(
                text,
                "{name:10}{:>10}{:>10}{:>10.0}{:>10.2}{:>10.2}{:>10.2}{:>10.2}{:>10.2}",
                one.done,
                one.refused,
                one.per_second,
                one.p50_ms,
                one.p90_ms,
                one.p99_ms,
                one.p999_ms,
                one.max_ms
            );
        }
        for (name, one) in &self.operations {
            let _ = writeln!(text, "\n{name}, calls by latency");
            let most = one.histogram.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
            for (below, count) in one.histogram.iter().filter(|(_, count)| *count > 0) {
                let bar = "#".repeat(usize::try_from(count * BAR / most).unwrap_or_default());
                let _ = writeln!(text, "< {below:>10.2} ms {count:>10}  {bar}");
            }
        }
        let (violations, failed) = (self.violations, self.failed_calls);
        let _ = write!(text, "\n{violations} violations of promises, {failed} failed calls");
        text
    }
}
