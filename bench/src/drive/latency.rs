//! How long calls took.

use hdrhistogram::Histogram;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Histograms, over which callers are spread so that they seldom wait for each other.
const SHARDS: usize = 8;

/// The longest latency that is told from longer ones, in microseconds: ten minutes.
const LONGEST: u64 = 600_000_000;

/// The first step of a histogram, in microseconds. Each further one is twice as long.
const FIRST_STEP: u64 = 125;

/// How long calls took, to three digits.
#[derive(Debug)]
pub(crate) struct Latencies(Vec<Mutex<Histogram<u32>>>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3);
        Self((0..SHARDS).filter_map(|_| histogram().ok()).map(Mutex::new).collect())
    }
}

impl Latencies {
    /// Notes a call.
    pub(crate) fn record(&self, caller: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut shard = self.0[caller % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        shard.saturating_record(micros);
    }

    /// The latency below which a share of the calls stayed, in milliseconds.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        millis(self.all().value_at_quantile(share))
    }

    /// How many calls took less than so many milliseconds, and at least half of that.
    pub(crate) fn histogram(&self) -> Vec<(f64, u64)> {
        let all = self.all();
        let steps = all.iter_log(FIRST_STEP, 2.0);
        steps
            .map(|step| (millis(step.value_iterated_to() + 1), step.count_since_last_iteration()))
            .collect()
    }

    /// All shards as one.
    fn all(&self) -> Histogram<u32> {
        let mut all = self.0[0].lock().unwrap_or_else(PoisonError::into_inner).clone();
        for shard in &self.0[1..] {
            // They have the same bounds, so that adding can't fail.
            let _ = all.add(&*shard.lock().unwrap_or_else(PoisonError::into_inner));
        }
        all
    }
}

/// Microseconds as milliseconds.
fn millis(micros: u64) -> f64 {
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_all_callers() {
        let latencies = Latencies::default();
        for caller in 0..100 {
            latencies.record(caller, Duration::from_millis(caller as u64 + 1));
        }
        let (p50, p99) = (latencies.quantile_ms(0.5), latencies.quantile_ms(0.99));
        assert!((p50 - 50.0).abs() < 0.1 && (p99 - 99.0).abs() < 0.1, "{p50} {p99}");
    }

    #[test]
    fn histograms_count_every_call_once() {
        let latencies = Latencies::default();
        for millis in [1, 1, 2, 50] {
            latencies.record(0, Duration::from_millis(millis));
        }
        let histogram = latencies.histogram();
        assert_eq!(histogram.iter().map(|(_, count)| count).sum::<u64>(), 4);
        assert_eq!(histogram.iter().find(|(_, count)| *count == 2).unwrap().0, 2.0);
    }

    #[test]
    fn the_longest_is_still_counted() {
        let latencies = Latencies::default();
        latencies.record(3, Duration::from_secs(10_000));
        assert!(latencies.quantile_ms(0.5) > 500_000.0);
    }
}
