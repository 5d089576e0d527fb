//! When to try a call again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::Error;

/// How often, and how fast, a failed call is repeated.
///
/// Every call of keypool may be repeated word for word, so the client does so whenever
/// [`Error::is_retryable`] holds: after a growing, jittered delay, or after what the service asked
/// for if that is longer, and always within the call's deadline. A rate-limited call is repeated
/// only if the service said when.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    max_retries: usize,
    min_delay: Duration,
    max_delay: Duration,
}

impl Default for RetryPolicy {
    /// Up to ten retries: the first after 50 ms, the slowest after 2 s, each plus its jitter.
    fn default() -> Self {
        Self {
            max_retries: 10,
            min_delay: Duration::from_millis(50),
            max_delay: Duration::from_secs(2),
        }
    }
}

impl RetryPolicy {
    /// Never repeats a call.
    #[must_use]
    pub fn never() -> Self {
        Self::default().max_retries(0)
    }

    /// Repeats a call at most this many times.
    #[must_use]
    pub fn max_retries(mut self, max_retries: usize) -> Self {
        self.max_retries = max_retries;
        self
    }

    /// Waits this long before the first retry, and twice as long before each further one. Up to as
    /// much again is added at random.
    #[must_use]
    pub fn min_delay(mut self, min_delay: Duration) -> Self {
        self.min_delay = min_delay;
        self
    }

    /// Waits no longer than this, jitter apart.
    #[must_use]
    pub fn max_delay(mut self, max_delay: Duration) -> Self {
        self.max_delay = max_delay;
        self
    }

    /// The retries of one call.
    pub(crate) fn start(&self) -> Retries {
        self.with_limit(Some(self.max_retries))
    }

    /// Retries without a limit, for streams that live as long as their reader.
    pub(crate) fn start_endless(&self) -> Retries {
        self.with_limit(None)
    }

    fn with_limit(&self, limit: Option<usize>) -> Retries {
        let delays = ExponentialBuilder::new()
            .with_min_delay(self.min_delay)
            .with_max_delay(self.max_delay)
            .with_jitter();
        let delays = match limit {
            Some(limit) => delays.with_max_times(limit),
            None => delays.without_max_times(),
        };
        Retries { delays: delays.build() }
    }
}

/// The delays of one call.
#[derive(Debug)]
pub(crate) struct Retries {
    delays: ExponentialBackoff,
}

impl Retries {
    /// How long to wait before the call is repeated; `None` if it is not.
    pub(crate) fn after(&mut self, error: &Error) -> Option<Duration> {
        if !error.is_retryable() {
            return None;
        }
        let asked = error.retry_after();
        if matches!(error, Error::RateLimited(_)) && asked.is_none() {
            return None;
        }
        let delay = self.delays.next()?;
        Some(asked.map_or(delay, |asked| asked.max(delay)))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::Failure;

    fn failure(retry_after: Option<Duration>) -> Box<Failure> {
        let mut failure = Failure::new(Code::Unknown, "words");
        failure.retry_after = retry_after;
        Box::new(failure)
    }

    #[test]
    fn delays_grow_up_to_the_limit() {
        let policy = RetryPolicy::default().max_retries(8);
        let mut retries = policy.start();
        let unavailable = Error::Unavailable(failure(None));
        let delays: Vec<_> = std::iter::from_fn(|| retries.after(&unavailable)).collect();

        assert_eq!(delays.len(), 8);
        assert!(delays[0] >= policy.min_delay && delays[0] <= 2 * policy.min_delay, "{delays:?}");
        assert!(delays.iter().all(|delay| *delay <= 2 * policy.max_delay), "{delays:?}");
    }

    #[test]
    fn the_service_may_ask_for_more_patience() {
        let hour = Duration::from_secs(3600);
        let mut retries = RetryPolicy::default().start();
        assert_eq!(retries.after(&Error::Overloaded(failure(Some(hour)))), Some(hour));
        assert_eq!(retries.after(&Error::RateLimited(failure(Some(hour)))), Some(hour));
        assert_eq!(retries.after(&Error::RateLimited(failure(None))), None);
    }

    #[test]
    fn a_definite_answer_is_final() {
        let mut retries = RetryPolicy::default().start();
        for error in [
            Error::PoolExhausted(failure(None)),
            Error::ReservationLost(failure(None)),
            Error::DeadlineExceeded(failure(None)),
            Error::Internal(failure(None)),
            Error::protocol("nonsense"),
        ] {
            assert_eq!(retries.after(&error), None, "{error}");
        }
    }
}
