//! Ends calls at their caller's deadline, or after the longest time that a call may take, with DEADLINE_EXCEEDED. tonic would
//! say CANCELLED.
//!
//! Nothing is done for a call after its deadline, also if the process was frozen meanwhile: the clock is asked before each step,
//! as a timer may fire later than what the call waits for.

use super::error::deadline_exceeded;
use crate::{caller::Waiting, freeze};
use http::{HeaderMap, Response};
use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};
use tokio::time::{Instant, sleep_until};
use tonic::body::Body;

/// By how much a deadline is brought forward, so that this answer comes before tonic's.
const HEAD_START: Duration = Duration::from_millis(2);

/// The time that a call has which was read now.
pub(super) fn begin(timeout: Duration) -> Waiting {
    Waiting::begin(Instant::now(), timeout.saturating_sub(HEAD_START))
}

/// Waits for the beginning of a call's response, at most until its deadline. After a freeze it waits for a moment: the caller may
/// have left, which is known soon.
pub(super) async fn within<E>(
    waiting: Waiting,
    response: impl Future<Output = Result<Response<Body>, E>>,
) -> Result<Response<Body>, E> {
    let mut response = pin!(waiting.scope(response));
    let mut deadline = pin!(sleep_until(waiting.until));
    let mut settling = pin!(sleep_until(waiting.since));
    poll_fn(|context| {
        let now = Instant::now();
        if waiting.is_over(now) {
            return Poll::Ready(Ok(deadline_exceeded().into_http()));
        }
        let settled = freeze::recent(now).map(|freeze| freeze.settled());
        if let Some(settled) = settled.filter(|settled| now < *settled) {
            settling.as_mut().reset(settled);
            if settling.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        if let Poll::Ready(response) = response.as_mut().poll(context) {
            return Poll::Ready(response);
        }
        deadline.as_mut().poll(context).map(|()| Ok(deadline_exceeded().into_http()))
    })
    .await
}

/// How long a call may take: as long as its caller says, and at most the longest time.
pub(super) fn timeout(headers: &HeaderMap, longest: Duration) -> Duration {
    callers(headers).map_or(longest, |timeout| timeout.min(longest))
}

/// Reads the header `grpc-timeout`: at most eight digits and a unit. None if it is absent, or not as it should be: tonic
/// ignores it then, too.
fn callers(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let amount: u64 = (digits.len() <= 8).then(|| digits.parse().ok())??;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{convert::Infallible, thread};

    /// Says whether the call went on.
    async fn stalled(waiting: Waiting, stall: Duration) -> (bool, tonic::Code) {
        let mut went_on = false;
        let response = within(waiting, async {
            thread::sleep(stall); // nothing else runs meanwhile, timers included
            tokio::task::yield_now().await;
            went_on = true;
            Ok::<_, Infallible>(tonic::Status::unknown("").into_http())
        });
        let code = super::super::error::code_of(&response.await.unwrap());
        (went_on, code)
    }

    #[tokio::test]
    async fn a_call_does_not_go_on_after_its_deadline_whatever_woke_it() {
        let waiting = begin(Duration::from_millis(20));
        let (went_on, code) = stalled(waiting, Duration::from_millis(30)).await;
        assert!(!went_on && code == tonic::Code::DeadlineExceeded, "{code:?}");
        let waiting = begin(Duration::from_secs(3600));
        let (went_on, code) = stalled(waiting, Duration::ZERO).await;
        assert!(went_on && code == tonic::Code::Unknown, "{code:?}");
    }

    #[test]
    fn timeouts_of_every_unit() {
        let read = |value: &'static str| {
            callers(&HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                http::HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("2m"), Some(Duration::from_millis(2)));
        assert_eq!(read("2u"), Some(Duration::from_micros(2)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for wrong in ["", "S", "123456789S", "-1S", "1", "1x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_shorter_time_counts() {
        let longest = Duration::from_secs(60);
        let mut headers = HeaderMap::new();
        assert_eq!(timeout(&headers, longest), longest);
        for (value, seconds) in [("1S", 1), ("2H", 60), ("nonsense", 60)] {
            headers.insert("grpc-timeout", http::HeaderValue::from_static(value));
            assert_eq!(timeout(&headers, longest), Duration::from_secs(seconds), "{value}");
        }
    }
}
