//! What `overload` tells.

use super::cores::Share;
use crate::{
    cli::OverloadOptions,
    compare::targets::{Limit, Target},
    drive::Taken,
    error::Error,
    report::{median, print_json, rounded},
    rig::Rig,
};
use serde::Serialize;
use std::fmt;

/// The share of the peak that must be left under overload.
const GOODPUT: f64 = 0.8;

/// The share of the deadline that all but one in a hundred of the calls that are done may take.
const P99: f64 = 0.9;

/// A peak, and what became of several times of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// Calls a second, each sent when the one before was answered.
    pub(super) peak: f64,
    /// What became of what was offered.
    pub(super) taken: Taken,
}

impl Round {
    #[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.taken.seconds
    }

    /// Calls a second that were due.
    fn offered(&self) -> f64 {
        let Taken { done, overloaded, late, unsent, .. } = self.taken;
        self.rate(done + overloaded + late + unsent)
    }

    /// Calls a second that this process came to send.
    fn sent(&self) -> f64 {
        self.offered() - self.rate(self.taken.unsent)
    }

    /// The share of the peak that was done in time.
    fn goodput(&self) -> f64 {
        self.rate(self.taken.done) / self.peak
    }

    /// Cores that something used.
    fn cores(&self, seconds: Option<f64>) -> Option<f64> {
        Some(seconds? / self.taken.seconds)
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Taken { done, p99_ms, .. } = self.taken;
        let (peak, sent, done) = (self.peak, self.sent(), self.rate(done));
        write!(f, "peak {peak:.0}/s, sent {sent:.0}/s, done {done:.0}/s ")?;
        write!(f, "({:.2} of the peak), p99 {p99_ms:.0} ms", self.goodput())
    }
}

/// Medians over rounds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    times: f64,
    deadline_ms: f64,
    seed: u64,
    cores: Share,
    postgres_settings: String,
    /// Calls a second, each sent when the one before was answered.
    peak_per_second: f64,
    /// Calls a second that were due.
    offered_per_second: f64,
    /// Calls a second that the load generator came to send within their deadline.
    sent_per_second: f64,
    /// Calls a second that were done in time.
    done_per_second: f64,
    /// The share of the peak that was done in time.
    goodput: f64,
    /// The same for each round.
    goodput_rounds: Vec<f64>,
    /// Calls a second that were refused as OVERLOADED.
    overloaded_per_second: f64,
    /// Calls a second that were sent and not answered in time.
    late_per_second: f64,
    /// Of calls that were done, since they were due.
    p50_ms: f64,
    p99_ms: f64,
    /// Of refusals, since the calls were due.
    refused_p50_ms: f64,
    /// Cores that were busy with each part.
    service_cores: Option<f64>,
    database_cores: Option<f64>,
    load_cores: Option<f64>,
    /// The most memory that the service used, in bytes.
    memory: Option<u64>,
    targets: Vec<Target>,
    violations: u64,
    failed_calls: u64,
}

impl Report {
    /// Sums up.
    pub(super) fn new(
        options: &OverloadOptions,
        rig: &Rig,
        rounds: Vec<Round>,
        memory: Option<u64>,
        cores: Share,
    ) -> Self {
        let middle = |number: &dyn Fn(&Round) -> f64| {
            median(rounds.iter().map(number)).map(rounded).unwrap_or_default()
        };
        let maybe = |number: &dyn Fn(&Round) -> Option<f64>| {
            median(rounds.iter().filter_map(number)).map(rounded)
        };
        let (goodput, p99_ms) = (middle(&Round::goodput), middle(&|round| round.taken.p99_ms));
        let deadline_ms = options.deadline.as_secs_f64() * 1000.0;
        let what = format!("done in time with {} times the peak offered / peak", options.times);
        let mut targets = vec![Target::new(what, Some(goodput), Limit::AtLeast, GOODPUT)];
        // The SDK tries until the deadline.
        if !options.sdk {
            let share = Some(p99_ms / deadline_ms);
            targets.push(Target::new("p99 / deadline", share, Limit::AtMost, P99));
        }
        Self {
            times: options.times,
            deadline_ms,
            seed: options.bench.run.seed,
            cores,
            postgres_settings: rig.settings.clone(),
            peak_per_second: middle(&|round| round.peak),
            offered_per_second: middle(&Round::offered),
            sent_per_second: middle(&Round::sent),
            done_per_second: middle(&|round| round.rate(round.taken.done)),
            goodput,
            goodput_rounds: rounds.iter().map(|round| rounded(round.goodput())).collect(),
            overloaded_per_second: middle(&|round| round.rate(round.taken.overloaded)),
            late_per_second: middle(&|round| round.rate(round.taken.late)),
            p50_ms: middle(&|round| round.taken.p50_ms),
            p99_ms,
            refused_p50_ms: middle(&|round| round.taken.refused_p50_ms),
            service_cores: maybe(&|round| round.cores(round.taken.used.service_cpu)),
            database_cores: maybe(&|round| round.cores(round.taken.used.database_cpu)),
            load_cores: maybe(&|round| round.cores(round.taken.used.load_cpu)),
            memory,
            targets,
            violations: rig.checker.violations().count(),
            failed_calls: rig.failures.count(),
        }
    }

    /// Prints it.
    pub(super) fn tell(&self, json: bool) -> Result<(), Error> {
        let text = self.text();
        if json {
            eprintln!("{text}");
            print_json(self)
        } else {
            println!("{text}");
            Ok(())
        }
    }

    fn text(&self) -> String {
        let cores =
            |cores: Option<f64>| cores.map_or_else(|| "-".to_owned(), |one| one.to_string());
        let memory = self.memory.map_or_else(|| "-".to_owned(), |bytes| (bytes >> 20).to_string());
        let lines = [
            format!("peak            {:>9.0}/s", self.peak_per_second),
            format!("offered         {:>9.0}/s", self.offered_per_second),
            format!("sent in time    {:>9.0}/s", self.sent_per_second),
            format!("done in time    {:>9.0}/s", self.done_per_second),
            format!("  p50           {:>9.2} ms", self.p50_ms),
            format!("  p99           {:>9.2} ms", self.p99_ms),
            format!("OVERLOADED      {:>9.0}/s", self.overloaded_per_second),
            format!("  p50           {:>9.2} ms", self.refused_p50_ms),
            format!("late            {:>9.0}/s", self.late_per_second),
            format!("service's memory{memory:>9} MiB"),
            format!(
                "{}; busy: service {}, database {}, load generator {}",
                self.cores,
                cores(self.service_cores),
                cores(self.database_cores),
                cores(self.load_cores)
            ),
        ];
        let targets: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
        let (violations, failed) = (self.violations, self.failed_calls);
        format!(
            "\n{}\n{}\n{violations} violations of promises, {failed} failed calls",
            lines.join("\n"),
            targets.join("\n")
        )
    }
}
