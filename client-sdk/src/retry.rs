//! When to try a call again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::Error;

/// How often, and how fast, a failed call is repeated.
///
/// Every call of keypool may be repeated word for word with the same effect, so the client does so,
/// within the call's deadline, after these errors and no others:
///
/// | error | repeated |
/// | --- | --- |
/// | [`Transport`](Error::Transport), [`Unavailable`](Error::Unavailable) | at once on each replica where the call has not failed yet, then after a delay |
/// | [`DeadlineExceeded`](Error::DeadlineExceeded) of a [single try](Self::attempt_timeout) | the same |
/// | [`Overloaded`](Error::Overloaded), [`Contended`](Error::Contended), [`Token`](Error::Token) | after a delay |
/// | [`RateLimited`](Error::RateLimited) | after the delay that the service asks for, if it does |
/// | [`Unauthenticated`](Error::Unauthenticated) | once, at once, if the [`TokenProvider`](crate::TokenProvider) has another token |
///
/// A delay grows from one to the next, is jittered, and is no shorter than what the service asks for.
///
/// [`PoolWatch`](crate::PoolWatch) has no deadline, and goes on after the same errors however often
/// they come. Where there is no room for another watch, it polls.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    max_retries: usize,
    min_delay: Duration,
    max_delay: Duration,
    attempt_timeout: Option<Duration>,
}

/// Where several replicas could answer, this is the least that a try gets.
const LEAST_SHARE: Duration = Duration::from_secs(1);

/// How long a method is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeated {
    /// As often as the policy says, and before the call's deadline.
    WithinDeadline,
    /// For streams, that live as long as their reader.
    Endlessly,
}

impl Default for RetryPolicy {
    /// Up to ten retries: the first after 50 ms, the slowest after 2 s, each plus its jitter.
    fn default() -> Self {
        Self {
            max_retries: 10,
            min_delay: Duration::from_millis(50),
            max_delay: Duration::from_secs(2),
            attempt_timeout: None,
        }
    }
}

impl RetryPolicy {
    /// Never repeats a call, unless its token was refused.
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

    /// How long one try may take before the call is repeated.
    ///
    /// Unless set, the only replica gets all of the time, and one of several gets half of what is
    /// left, but a second at least: so a replica that hangs does not fail the call.
    #[must_use]
    pub fn attempt_timeout(mut self, attempt_timeout: Duration) -> Self {
        self.attempt_timeout = Some(attempt_timeout);
        self
    }

    /// How much of the time that is left one try gets.
    pub(crate) fn share(&self, left: Duration, replicas: usize) -> Duration {
        match self.attempt_timeout {
            Some(timeout) => timeout.min(left),
            None if replicas > 1 => (left / 2).max(LEAST_SHARE).min(left),
            None => left,
        }
    }

    /// The retries of one call, or of one stream.
    pub(crate) fn start(&self, repeated: Repeated) -> Retries {
        let delays = ExponentialBuilder::new()
            .with_min_delay(self.min_delay)
            .with_max_delay(self.max_delay)
            .with_jitter();
        let delays = match repeated {
            Repeated::WithinDeadline => delays.with_max_times(self.max_retries),
            Repeated::Endlessly => delays.without_max_times(),
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
    /// How long to wait before the call is repeated; `None` if it is not. That there is time left,
    /// which makes an expiry that of a single try, is for the caller to see to.
    pub(crate) fn after(&mut self, error: &Error) -> Option<Duration> {
        if !error.is_retryable() && !matches!(error, Error::DeadlineExceeded(_)) {
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
        let mut retries = policy.start(Repeated::WithinDeadline);
        let unavailable = Error::Unavailable(failure(None));
        let delays: Vec<_> = std::iter::from_fn(|| retries.after(&unavailable)).collect();

        assert_eq!(delays.len(), 8);
        assert!(delays[0] >= policy.min_delay && delays[0] <= 2 * policy.min_delay, "{delays:?}");
        assert!(delays.iter().all(|delay| *delay <= 2 * policy.max_delay), "{delays:?}");
    }

    #[test]
    fn the_service_may_ask_for_more_patience() {
        let hour = Duration::from_secs(3600);
        let mut retries = RetryPolicy::default().start(Repeated::WithinDeadline);
        assert_eq!(retries.after(&Error::Overloaded(failure(Some(hour)))), Some(hour));
        assert_eq!(retries.after(&Error::RateLimited(failure(Some(hour)))), Some(hour));
        assert_eq!(retries.after(&Error::RateLimited(failure(None))), None);
    }

    #[test]
    fn a_definite_answer_is_final() {
        let mut retries = RetryPolicy::default().start(Repeated::WithinDeadline);
        for error in [
            Error::PoolExhausted(failure(None)),
            Error::ReservationLost(failure(None)),
            Error::Unauthenticated(failure(None)),
            Error::Internal(failure(None)),
            Error::protocol("nonsense"),
        ] {
            assert_eq!(retries.after(&error), None, "{error}");
        }
    }

    #[test]
    fn a_stream_is_repeated_however_often_it_breaks() {
        let mut retries = RetryPolicy::never().start(Repeated::Endlessly);
        assert!((0..100).all(|_| retries.after(&Error::Transport("broken".into())).is_some()));
    }

    #[test]
    fn one_of_several_replicas_does_not_get_all_of_the_time() {
        let seconds = Duration::from_secs;
        let policy = RetryPolicy::default();
        assert_eq!(policy.share(seconds(10), 1), seconds(10));
        assert_eq!(policy.share(seconds(10), 2), seconds(5));
        assert_eq!(policy.share(seconds(1), 2), seconds(1));
        let policy = policy.attempt_timeout(seconds(3));
        assert_eq!(policy.share(seconds(10), 1), seconds(3));
        assert_eq!(policy.share(seconds(2), 2), seconds(2));
    }
}
