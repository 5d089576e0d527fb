//! Several measurements of the same, as one.

use super::{median, rounded};
use crate::drive::Measured;
use serde::Serialize;

/// Medians over rounds.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Summary {
    /// Items a second.
    pub(crate) per_second: f64,
    /// Half of the calls took less, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99 of 100 calls took less, in milliseconds.
    pub(crate) p99_ms: f64,
    /// CPU microseconds of the services for each item.
    pub(crate) service_cpu_us: Option<f64>,
    /// CPU microseconds of PostgreSQL for each item.
    pub(crate) database_cpu_us: Option<f64>,
    /// CPU microseconds of the load generator for each item.
    pub(crate) load_cpu_us: Option<f64>,
    /// Bytes of WAL for each item.
    pub(crate) wal_bytes: Option<f64>,
    /// Items a second in each round.
    pub(crate) rounds: Vec<f64>,
}

impl Summary {
    /// Sums measurements up.
    pub(crate) fn of(rounds: &[Measured]) -> Self {
        let middle = |number: &dyn Fn(&Measured) -> f64| {
            median(rounds.iter().map(number)).map(rounded).unwrap_or_default()
        };
        let each = |total: &dyn Fn(&Measured) -> Option<f64>| {
            let each = |round: &Measured| round.per_item(total(round)?);
            median(rounds.iter().filter_map(each)).map(rounded)
        };
        let micros = |seconds: Option<f64>| seconds.map(|seconds| seconds * 1e6);
        Self {
            per_second: middle(&Measured::per_second),
            p50_ms: middle(&|round| round.p50_ms),
            p99_ms: middle(&|round| round.p99_ms),
            service_cpu_us: each(&|round| micros(round.used.service_cpu)),
            database_cpu_us: each(&|round| micros(round.used.database_cpu)),
            load_cpu_us: each(&|round| micros(round.used.load_cpu)),
            wal_bytes: each(&|round| round.used.wal_bytes),
            rounds: rounds.iter().map(|round| rounded(round.per_second())).collect(),
        }
    }
}
