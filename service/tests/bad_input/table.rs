//! Requests that are good but for one field.

use super::support::{fields, reason};
use keypool_proto::v1::ErrorReason;
use keypool_service::testing::server::TestServer;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A good request and ways to spoil it, each with the path that the answer must name.
pub struct Table<R> {
    good: R,
    spoilt: Vec<(String, R)>,
}

impl<R: Clone + std::fmt::Debug> Table<R> {
    pub fn of(good: R) -> Self {
        Self { good, spoilt: Vec::new() }
    }

    pub fn with(mut self, path: &str, spoil: impl FnOnce(&mut R)) -> Self {
        let mut request = self.good.clone();
        spoil(&mut request);
        self.spoilt.push((path.to_owned(), request));
        self
    }

    /// A text that must be there, has at most 255 bytes and no control characters.
    pub fn id(self, path: &str, set: impl Fn(&mut R, String)) -> Self {
        self.with(path, |request| set(request, String::new())).optional_id(path, set)
    }

    /// The same, but it may be empty.
    pub fn optional_id(mut self, path: &str, set: impl Fn(&mut R, String)) -> Self {
        let long = "é".repeat(128);
        for bad in [long.as_str(), "a\nb", "nul\0", "\u{85}"] {
            self = self.with(path, |request| set(request, bad.to_owned()));
        }
        self
    }

    /// A KeyPackageRef.
    pub fn reference(mut self, path: &str, set: impl Fn(&mut R, Vec<u8>)) -> Self {
        for length in [0, 31, 33, 65] {
            self = self.with(path, |request| set(request, vec![7; length]));
        }
        self
    }

    /// An MLS group id.
    pub fn group(self, path: &str, set: impl Fn(&mut R, Vec<u8>)) -> Self {
        self.with(path, |request| set(request, vec![]))
            .with(path, |request| set(request, vec![7; 256]))
    }

    /// How long to hold.
    pub fn ttl(mut self, path: &str, set: impl Fn(&mut R, prost_types::Duration)) -> Self {
        let spans = [
            (0, 0),
            (0, 999_999_999),
            (-1, 0),
            (600, 1),
            (1, -1),
            (1, 1_000_000_000),
            (0, i32::MIN),
            (i64::MAX, 999_999_999),
            (i64::MIN, -999_999_999),
        ];
        for (seconds, nanos) in spans {
            self =
                self.with(path, |request| set(request, prost_types::Duration { seconds, nanos }));
        }
        self
    }

    /// Checks that each spoilt request is refused for its field and no other, and the good one not for any, and that
    /// nothing was stored.
    pub async fn check<T: std::fmt::Debug>(
        self,
        server: &TestServer,
        call: impl AsyncFn(R) -> Result<T, Status>,
    ) {
        for (path, request) in self.spoilt {
            let status = call(request.clone()).await.expect_err(&path);
            assert_eq!(fields(&status), [path.as_str()], "{request:?}");
            assert_eq!(reason(&status), ErrorReason::InvalidArgument);
            assert!(status.message().contains(&path), "{status:?}");
            let details = status.get_error_details();
            let violation = &details.bad_request().unwrap().field_violations[0];
            assert!(!violation.description.is_empty(), "{status:?}");
        }
        let good = call(self.good).await.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_ne!(good, Code::InvalidArgument);
        assert_eq!(super::unchanged::rows(server).await, 0, "bad requests left rows");
    }
}
