//! Ends calls at their caller's deadline, or after the longest time that a call may take, with DEADLINE_EXCEEDED. tonic would
//! say CANCELLED.

use super::error::deadline_exceeded;
use http::{HeaderMap, Response};
use std::time::Duration;
use tonic::body::Body;

/// By how much a deadline is brought forward, so that this answer comes before tonic's.
const HEAD_START: Duration = Duration::from_millis(2);

/// Waits for the beginning of a call's response, at most until its deadline.
pub(super) async fn within<E>(
    timeout: Duration,
    response: impl Future<Output = Result<Response<Body>, E>>,
) -> Result<Response<Body>, E> {
    match tokio::time::timeout(timeout.saturating_sub(HEAD_START), response).await {
        Ok(response) => response,
        Err(_elapsed) => Ok(deadline_exceeded().into_http()),
    }
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
