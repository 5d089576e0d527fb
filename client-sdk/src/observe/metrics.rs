//! Calls, counted and timed. The names are in the documentation of the crate.

use std::time::Instant;

/// A call that is not counted yet. It is when it ends, or is dropped.
#[derive(Debug)]
pub(super) struct CallMetrics {
    method: &'static str,
    start: Instant,
    outcome: &'static str,
}

impl CallMetrics {
    pub(super) fn start(method: &'static str) -> Self {
        Self { method, start: Instant::now(), outcome: "cancelled" }
    }

    pub(super) fn retried(&self) {
        metrics::counter!("keypool_client_retries_total", "method" => self.method).increment(1);
    }

    pub(super) fn ended(&mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for CallMetrics {
    fn drop(&mut self) {
        let (method, outcome) = (self.method, self.outcome);
        metrics::counter!("keypool_client_calls_total", "method" => method, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("keypool_client_call_duration_seconds", "method" => method)
            .record(self.start.elapsed());
    }
}

/// A package that a keeper uploaded and the service rejected, for a reason as in `pool_full`.
#[cfg(feature = "openmls")]
pub(crate) fn rejected(reason: String) {
    metrics::counter!("keypool_client_rejected_packages_total", "reason" => reason).increment(1);
}

/// A try that is not sent, because the service is overloaded.
pub(crate) fn kept_back(method: &'static str) {
    metrics::counter!("keypool_client_kept_back_total", "method" => method).increment(1);
}
