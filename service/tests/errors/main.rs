//! Every reason why a call fails: its status code, message, metadata and details.

#![allow(clippy::unwrap_used)] // a test says more by failing than an error would

#[path = "../support/mod.rs"]
mod support;

mod database;
mod holds;
mod reserve;
mod service;
mod trailers;
mod unfinished;

use keypool_proto::v1::ErrorReason;
use prost::Message;
use support::reason;
use tonic::{Code, Status};
use tonic_types::{StatusExt, pb};

/// What the documentation of a reason says about its status.
struct Documented<'a> {
    code: Code,
    reason: ErrorReason,
    message: &'a str,
    metadata: &'a [(&'a str, &'a str)],
}

impl Documented<'_> {
    #[track_caller]
    fn assert(&self, status: &Status) {
        assert_eq!(status.code(), self.code, "{status:?}");
        assert_eq!(reason(status), self.reason, "{status:?}");
        assert!(status.message().starts_with(self.message), "{status:?}");
        let details = status.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        for (key, value) in self.metadata {
            assert_eq!(metadata.get(*key).map(String::as_str), Some(*value), "{key} of {status:?}");
        }
        let passing =
            [ErrorReason::RateLimited, ErrorReason::Overloaded, ErrorReason::DatabaseUnavailable];
        let retry = details.retry_info().and_then(|info| info.retry_delay);
        assert_eq!(retry.is_some(), passing.contains(&self.reason), "{status:?}");
        assert_shows_nothing_inner(status);
    }
}

/// No text of a status carries SQL, a driver's words, or a path.
#[track_caller]
fn assert_shows_nothing_inner(status: &Status) {
    let all = pb::Status::decode(status.details()).unwrap();
    let details: String =
        all.details.iter().map(|one| String::from_utf8_lossy(&one.value).into_owned()).collect();
    let inner = [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "relation",
        "column",
        "postgres",
        "SQL",
        "tokio",
        "deadpool",
        "os error",
        "src/",
        "/tmp",
        "/usr",
        ".rs",
        ".sql",
        "one_time",
        "spend_log",
    ];
    for word in inner {
        assert!(!status.message().contains(word), "{word} in {status:?}");
        assert!(!details.contains(word), "{word} in the details of {status:?}");
    }
    assert!(!status.message().contains('/'), "a path in {status:?}");
}

/// The ref of a package in hexadecimal, as metadata carry it.
fn hex(reference: &[u8]) -> String {
    reference.iter().map(|byte| format!("{byte:02x}")).collect()
}
