//! What became of the calls, for each operation.

use super::mix::Operation;
use crate::{drive::Latencies, report::rounded};
use serde::Serialize;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What became of the calls, for each operation. Shared by all callers.
#[derive(Debug, Default)]
pub(super) struct Counts {
    reserve: Count,
    spend: Count,
    upload: Count,
}

/// What became of the calls of one operation.
#[derive(Debug, Default)]
pub(super) struct Count {
    done: AtomicU64,
    refused: AtomicU64,
    latencies: Latencies,
}

impl Counts {
    /// The counts of an operation.
    pub(super) fn of(&self, operation: Operation) -> &Count {
        match operation {
            Operation::Reserve => &self.reserve,
            Operation::Spend => &self.spend,
            Operation::Upload => &self.upload,
        }
    }

    /// All operations, as they are called.
    pub(super) fn all(&self) -> [(&'static str, &Count); 3] {
        [("reserve", &self.reserve), ("spend", &self.spend), ("upload", &self.upload)]
    }
}

impl Count {
    /// Notes a call that did what it was to do.
    pub(super) fn done(&self, caller: usize, took: Duration) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.latencies.record(caller, took);
    }

    /// Notes a call that was refused for a good reason: the pool is empty, or full, or the hold had lapsed.
    pub(super) fn refused(&self, caller: usize, took: Duration) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.latencies.record(caller, took);
    }

    /// Calls that did what they were to do, and calls that were refused.
    pub(super) fn so_far(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Sums up, after so many seconds.
    pub(super) fn summary(&self, seconds: f64) -> CountSummary {
        let (done, refused) = self.so_far();
        let ms = |share| rounded(self.latencies.quantile_ms(share));
        CountSummary {
            done,
            refused,
            #[allow(clippy::cast_precision_loss)] // counts of calls are far below 2^52
            per_second: rounded(done as f64 / seconds),
            p50_ms: ms(0.5),
            p90_ms: ms(0.9),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            max_ms: ms(1.0),
            histogram: self.latencies.histogram(),
        }
    }
}

/// What became of the calls of one operation, for people and programs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CountSummary {
    /// Calls that did what they were to do.
    pub(super) done: u64,
    /// Calls that were refused for a good reason.
    pub(super) refused: u64,
    /// Calls a second that did what they were to do.
    pub(super) per_second: f64,
    /// Half of the calls took less, in milliseconds. The others likewise.
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
    pub(super) max_ms: f64,
    /// Calls that took less than so many milliseconds, and at least half of that.
    pub(super) histogram: Vec<(f64, u64)>,
}
