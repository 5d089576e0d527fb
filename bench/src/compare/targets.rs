//! What keypool wants to reach, beside what it did reach.

use super::{
    memory::Memory,
    report::{Summaries, best_single_statement},
    slot::Slot,
};
use crate::report::rounded;
use serde::Serialize;
use std::fmt;

/// The most memory that the service may use.
const MEMORY: f64 = 150.0 * 1024.0 * 1024.0;

/// How much the service's memory may have grown since the first look.
const GROWTH: f64 = 1.1;

/// Which side of its limit a value is to be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// The limit, or more.
    AtLeast,
    /// The limit, or less.
    AtMost,
}

/// Something to reach.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Target {
    /// What is compared.
    what: String,
    /// What was found; none if it could not be measured here.
    value: Option<f64>,
    /// On which side of the limit it is to be.
    side: Limit,
    /// The limit.
    limit: f64,
    /// Whether it was reached.
    reached: bool,
}

impl Target {
    /// Compares a value with a limit.
    pub(crate) fn new(
        what: impl Into<String>,
        value: Option<f64>,
        side: Limit,
        limit: f64,
    ) -> Self {
        let value = value.filter(|value| value.is_finite());
        let reached = value.is_some_and(|value| match side {
            Limit::AtLeast => value >= limit,
            Limit::AtMost => value <= limit,
        });
        Self { what: what.into(), value: value.map(rounded), side, limit: rounded(limit), reached }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.value, self.reached) {
            (None, _) => "not measured",
            (_, true) => "reached",
            (_, false) => "not reached",
        };
        let side = if self.side == Limit::AtLeast { ">=" } else { "<=" };
        let value = self.value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        write!(f, "{verdict:<13}{value:>9} {side} {:<6} {}", self.limit, self.what)
    }
}

/// The targets of `compare`.
pub(super) fn targets(summaries: &Summaries, memory: &Memory) -> Vec<Target> {
    let levels =
        summaries.keys().filter(|slot| slot.name() == "keypool").map(|slot| slot.in_flight());
    let (low, top) = (levels.clone().min().unwrap_or(1), levels.max().unwrap_or(1));
    let rate = |slot: Slot| summaries.get(&slot).map(|summary| summary.per_second);
    let ratio = |one: Option<f64>, other: Option<f64>| Some(one? / other?);
    let p50 = |slot: Slot| summaries.get(&slot).map(|summary| summary.p50_ms);
    let megabytes = |bytes: Option<u64>| bytes.map(mebibytes);

    let keypool = rate(Slot::Keypool { in_flight: top });
    let single = best_single_statement(summaries, top).map(|summary| summary.per_second);
    let alone = p50(Slot::Keypool { in_flight: low });
    let allowed = p50(Slot::Echo { in_flight: low })
        .zip(best_single_statement(summaries, low))
        .map(|(echo, single)| echo + 1.5 * single.p50_ms);
    let at_top = |what: &str| format!("{what}, {top} in flight");
    let at_least = |what: String, value, limit| Target::new(what, value, Limit::AtLeast, limit);
    let at_most = |what: String, value, limit| Target::new(what, value, Limit::AtMost, limit);
    vec![
        at_least(at_top("keypool / single statement"), ratio(keypool, single), 3.0),
        at_least(
            at_top("keypool / echo"),
            ratio(keypool, rate(Slot::Echo { in_flight: top })),
            0.5,
        ),
        at_most(
            format!("keypool's p50 / (echo's + 1.5 single statement's), {low} in flight"),
            ratio(alone, allowed),
            1.0,
        ),
        at_least(
            "packages of reserves of 100 devices / single statement".to_owned(),
            ratio(rate(Slot::Batch), single),
            4.0,
        ),
        at_least(
            at_top("reserve then spend / reserve"),
            ratio(rate(Slot::ReserveThenSpend { in_flight: top }), keypool),
            0.4,
        ),
        at_least(
            "upload / validation alone".to_owned(),
            ratio(rate(Slot::Upload), rate(Slot::Validation)),
            0.7,
        ),
        at_least(
            at_top("all calls on one device / spread"),
            ratio(rate(Slot::HotUser { in_flight: top }), keypool),
            0.5,
        ),
        at_least(
            at_top("two replicas / one"),
            ratio(rate(Slot::TwoReplicas { in_flight: top }), keypool),
            1.0,
        ),
        at_most(
            at_top("the most memory that the service used, in MiB"),
            megabytes(memory.peak),
            MEMORY / 1024.0 / 1024.0,
        ),
        at_most(
            format!("the service's memory after {} reserves / after 10000", memory.reserves),
            ratio(megabytes(memory.last), megabytes(memory.first)),
            GROWTH,
        ),
    ]
}

/// Bytes in the unit that people read.
#[allow(clippy::cast_precision_loss)] // memory fits
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Summary;

    #[test]
    fn a_target_is_reached_at_its_limit() {
        let target = |value, side| Target::new("", value, side, 3.0).reached;
        assert!(target(Some(3.0), Limit::AtLeast) && target(Some(3.0), Limit::AtMost));
        assert!(!target(Some(2.9), Limit::AtLeast) && !target(Some(3.1), Limit::AtMost));
        assert!(!target(None, Limit::AtLeast) && !target(Some(f64::NAN), Limit::AtMost));
    }

    #[test]
    fn the_best_number_of_connections_counts() {
        let summary = |per_second| Summary { per_second, ..Summary::default() };
        let single = |connections| Slot::SingleStatement { in_flight: 256, connections };
        let summaries = Summaries::from([
            (single(4), summary(1000.0)),
            (single(16), summary(2000.0)),
            (single(64), summary(1500.0)),
            (Slot::Keypool { in_flight: 256 }, summary(5000.0)),
        ]);
        let targets = targets(&summaries, &Memory::default());
        assert_eq!(targets[0].value, Some(2.5));
        assert!(!targets[0].reached);
        assert!(targets[1].to_string().starts_with("not measured"), "{}", targets[1]);
    }
}
