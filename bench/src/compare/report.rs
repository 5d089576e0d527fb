//! What `compare` tells.

use super::{
    Results,
    memory::Memory,
    setup::Setup,
    slot::Slot,
    targets::{Target, targets},
};
use crate::report::{Curve, Point, Row, Summary, rounded};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// What `compare` found. Its JSON has packages a second at the top, and everything else under `details`.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// By calls in flight.
    in_flight: BTreeMap<u32, Rates>,
    /// Packages a second of reserves of a hundred devices each.
    batch_100: f64,
    /// Broken promises.
    violations: u64,
    /// Everything else.
    details: Details,
}

/// Reserves a second.
#[derive(Debug, Default, Serialize)]
struct Rates {
    /// gRPC alone.
    echo: f64,
    /// A reserve per prepared statement, with the best number of connections.
    single_statement: f64,
    /// Delete-on-read.
    delete_on_read: f64,
    /// keypool.
    keypool: f64,
}

impl Rates {
    /// Where the rate of a slot belongs, if it belongs here.
    fn rate_of(slot: Slot) -> Option<fn(&mut Self) -> &mut f64> {
        match slot {
            Slot::Echo { .. } => Some(|rates| &mut rates.echo),
            Slot::SingleStatement { .. } => Some(|rates| &mut rates.single_statement),
            Slot::DeleteOnRead { .. } => Some(|rates| &mut rates.delete_on_read),
            Slot::Keypool { .. } => Some(|rates| &mut rates.keypool),
            _ => None,
        }
    }
}

/// How it was measured, and what else was found.
#[derive(Debug, Serialize)]
struct Details {
    seed: u64,
    packages: u32,
    postgres_settings: String,
    seconds: f64,
    /// Answers to reserves that were checked, by package.
    checked_reserves: u64,
    /// Calls that failed and must not.
    failed_calls: u64,
    measurements: Vec<Measurement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<Target>,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Measurement {
    subject: &'static str,
    in_flight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u32>,
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip)]
    slot: Slot,
}

/// The medians of each slot.
pub(super) type Summaries = BTreeMap<Slot, Summary>;

/// The best of all numbers of connections.
pub(super) fn best_single_statement(summaries: &Summaries, in_flight: u32) -> Option<&Summary> {
    summaries
        .iter()
        .filter(|(slot, _)| slot.name() == "single_statement" && slot.in_flight() == in_flight)
        .map(|(_, summary)| summary)
        .max_by(|one, other| one.per_second.total_cmp(&other.per_second))
}

impl Comparison {
    /// Sums all measurements up. The memory was looked at if this is not the quick comparison, which has no targets.
    pub(super) fn new(
        results: &Results,
        setup: &Setup,
        memory: Option<Memory>,
        took: Duration,
    ) -> Self {
        let summaries: Summaries =
            results.iter().map(|(slot, rounds)| (*slot, Summary::of(rounds))).collect();
        let mut in_flight = BTreeMap::<u32, Rates>::new();
        for (slot, summary) in &summaries {
            let Some(rate) = Rates::rate_of(*slot) else { continue };
            let rate = rate(in_flight.entry(slot.in_flight()).or_default());
            *rate = rate.max(summary.per_second);
        }
        let rig = &setup.rig;
        let details = Details {
            seed: rig.options.run.seed,
            packages: setup.packages(),
            postgres_settings: rig.settings.clone(),
            seconds: rounded(took.as_secs_f64()),
            checked_reserves: rig.checker.count_reserved(),
            failed_calls: rig.failures.count(),
            memory,
            targets: memory.map(|memory| targets(&summaries, &memory)).unwrap_or_default(),
            measurements: summaries
                .iter()
                .map(|(slot, summary)| Measurement {
                    subject: slot.name(),
                    in_flight: slot.in_flight(),
                    connections: slot.connections(),
                    summary: summary.clone(),
                    slot: *slot,
                })
                .collect(),
        };
        let batch_100 = summaries.get(&Slot::Batch).map_or(0.0, |summary| summary.per_second);
        Self { in_flight, batch_100, violations: rig.checker.violations().count(), details }
    }

    /// The lines of the table.
    pub(super) fn rows(&self) -> Vec<Row> {
        let row =
            |one: &Measurement| Row { what: one.slot.to_string(), summary: one.summary.clone() };
        self.details.measurements.iter().map(row).collect()
    }

    /// What is told below the table.
    pub(super) fn verdicts(&self) -> String {
        let mut text = String::new();
        // Writing to a text can't fail.
        for (in_flight, rates) in &self.in_flight {
            let ratio = |of: f64| if of > 0.0 { rates.keypool / of } else { 0.0 };
            let _ = writeln!(
                text,
                "keypool at {in_flight} in flight: {:.2} of echo, {:.2} of single statement, {:.2} of delete on read",
                ratio(rates.echo),
                ratio(rates.single_statement),
                ratio(rates.delete_on_read)
            );
        }
        for target in &self.details.targets {
            let _ = writeln!(text, "{target}");
        }
        let (violations, failed) = (self.violations, self.details.failed_calls);
        let _ = writeln!(text, "{violations} violations of promises, {failed} failed calls");
        text
    }

    /// What is drawn.
    pub(super) fn curves(&self) -> Vec<Curve> {
        let subjects = ["echo", "single_statement", "delete_on_read", "keypool"];
        subjects.map(|subject| self.curve(subject)).into()
    }

    /// The best of each number of calls in flight.
    fn curve(&self, subject: &'static str) -> Curve {
        let mut points = BTreeMap::<u32, &Summary>::new();
        for one in self.details.measurements.iter().filter(|one| one.subject == subject) {
            let best = points.entry(one.in_flight).or_insert(&one.summary);
            if one.summary.per_second > best.per_second {
                *best = &one.summary;
            }
        }
        let point = |(in_flight, summary): (u32, &Summary)| Point {
            in_flight,
            per_second: summary.per_second,
            p50_ms: summary.p50_ms,
            p99_ms: summary.p99_ms,
        };
        Curve { name: subject.replace('_', " "), points: points.into_iter().map(point).collect() }
    }
}
