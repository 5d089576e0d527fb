//! What a measurement found.

use super::{Tally, meter::Used};

/// What one measurement found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measured {
    /// How long it took.
    pub(crate) seconds: f64,
    /// Items that the calls were about that ended in it.
    pub(crate) items: u64,
    /// Half of the calls took less, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99 of 100 calls took less, in milliseconds.
    pub(crate) p99_ms: f64,
    /// What it used up meanwhile.
    pub(crate) used: Used,
}

impl Measured {
    /// Sums up.
    pub(super) fn new(seconds: f64, tally: &Tally, used: Used) -> Self {
        Self {
            seconds,
            items: tally.items(),
            p50_ms: tally.latency_ms(0.5),
            p99_ms: tally.latency_ms(0.99),
            used,
        }
    }

    /// Items a second.
    #[allow(clippy::cast_precision_loss)] // counts of calls are far below 2^52
    pub(crate) fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.items as f64 / self.seconds } else { 0.0 }
    }

    /// How much of something each item took.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn per_item(&self, total: f64) -> Option<f64> {
        (self.items > 0).then(|| total / self.items as f64)
    }
}
