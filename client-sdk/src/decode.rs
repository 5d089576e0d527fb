//! From `google.rpc.Status` to [`Error`].

use std::error::Error as _;
use std::time::Duration;

use keypool_proto::ERROR_DOMAIN;
use keypool_proto::v1::{self, ErrorReason};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::error::{Error, Failure, FieldViolation, Missing};

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        if status.source().is_some() && !is_expiry(&status) {
            return Self::Transport(Box::new(status));
        }
        let failure = Box::new(Failure::from(&status));
        match failure.reason {
            Some(reason) => for_reason(reason)(failure),
            None if is_expiry(&status) => Self::DeadlineExceeded(failure),
            None => for_code(failure.code)(failure),
        }
    }
}

/// tonic reports a deadline that it enforced itself as CANCELLED.
fn is_expiry(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message() == "Timeout expired"
}

/// A deadline that the client's own channel enforced: nobody answered.
pub(crate) fn is_own_expiry(status: &Status) -> bool {
    status.source().is_some() && is_expiry(status)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let variant = failure.reason.map_or_else(|| for_code(failure.code), for_reason);
        variant(Box::new(failure))
    }
}

/// The variant of a reason.
pub(crate) fn for_reason(reason: ErrorReason) -> fn(Box<Failure>) -> Error {
    match reason {
        ErrorReason::InvalidArgument => Error::InvalidArgument,
        ErrorReason::PoolExhausted => Error::PoolExhausted,
        ErrorReason::NoCompatiblePackage => Error::NoCompatiblePackage,
        ErrorReason::UnknownUser => Error::UnknownUser,
        ErrorReason::UnknownDevice => Error::UnknownDevice,
        ErrorReason::KeyPackageAlreadySpent => Error::KeyPackageAlreadySpent,
        ErrorReason::KeyPackageExpired => Error::KeyPackageExpired,
        ErrorReason::KeyPackageRevoked => Error::KeyPackageRevoked,
        ErrorReason::ReservationNotFound => Error::ReservationNotFound,
        ErrorReason::ReservationLost => Error::ReservationLost,
        ErrorReason::ReservationIdReused => Error::ReservationIdReused,
        ErrorReason::HoldTooLong => Error::HoldTooLong,
        ErrorReason::RateLimited | ErrorReason::TooManyWatches => Error::RateLimited,
        ErrorReason::TooManyDevices => Error::TooManyDevices,
        ErrorReason::Overloaded => Error::Overloaded,
        ErrorReason::Contended => Error::Contended,
        ErrorReason::DatabaseUnavailable
        | ErrorReason::IssuerUnavailable
        | ErrorReason::ShuttingDown => Error::Unavailable,
        ErrorReason::Unauthenticated => Error::Unauthenticated,
        ErrorReason::PermissionDenied => Error::PermissionDenied,
        ErrorReason::DeadlineExceeded => Error::DeadlineExceeded,
        ErrorReason::Internal => Error::Internal,
        ErrorReason::Unspecified => Error::Other,
    }
}

/// For what has no reason, or one from a later version: the status code decides.
fn for_code(code: Code) -> fn(Box<Failure>) -> Error {
    match code {
        Code::InvalidArgument => Error::InvalidArgument,
        Code::DeadlineExceeded => Error::DeadlineExceeded,
        Code::ResourceExhausted => Error::RateLimited,
        Code::Unavailable => Error::Unavailable,
        Code::Unauthenticated => Error::Unauthenticated,
        Code::PermissionDenied => Error::PermissionDenied,
        Code::Internal => Error::Internal,
        _ => Error::Other,
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        let mut failure = Self::new(status.code(), status.message());
        let details = pb::Status::decode(status.details()).unwrap_or_default().details;
        for detail in details {
            failure.add(&detail.type_url, &detail.value);
        }
        failure
    }
}

impl Failure {
    /// Takes up one detail. What can't be read is left out: the code and the message remain.
    fn add(&mut self, type_url: &str, value: &[u8]) {
        match type_url.rsplit('/').next().unwrap_or_default() {
            "google.rpc.ErrorInfo" => {
                let info = pb::ErrorInfo::decode(value).unwrap_or_default();
                if info.domain == ERROR_DOMAIN {
                    self.reason = known_reason(&info.reason);
                    self.metadata = info.metadata.into_iter().collect();
                }
            }
            "google.rpc.RetryInfo" => {
                let info = pb::RetryInfo::decode(value).unwrap_or_default();
                self.retry_after =
                    info.retry_delay.and_then(|delay| Duration::try_from(delay).ok());
            }
            "google.rpc.BadRequest" => {
                let request = pb::BadRequest::decode(value).unwrap_or_default();
                self.violations = request.field_violations.into_iter().map(Into::into).collect();
            }
            "keypool.v1.ReserveErrorDetails" => {
                let details = v1::ReserveErrorDetails::decode(value).unwrap_or_default();
                self.missing = details.missing.iter().cloned().map(Into::into).collect();
                self.missing_targets = details.missing;
            }
            "keypool.v1.KeyPackageErrorDetails" => {
                let details = v1::KeyPackageErrorDetails::decode(value).unwrap_or_default();
                self.failed_packages = details.failures;
            }
            _ => {}
        }
    }
}

fn known_reason(reason: &str) -> Option<ErrorReason> {
    ErrorReason::from_reason(reason).filter(|reason| *reason != ErrorReason::Unspecified)
}

impl From<pb::bad_request::FieldViolation> for FieldViolation {
    fn from(violation: pb::bad_request::FieldViolation) -> Self {
        Self { field: violation.field, description: violation.description }
    }
}

impl From<v1::MissingTarget> for Missing {
    fn from(missing: v1::MissingTarget) -> Self {
        let reason = missing.reason();
        Self {
            user_id: missing.user_id,
            device_id: Some(missing.device_id).filter(|device_id| !device_id.is_empty()),
            reason,
            message: missing.message,
            retry_after: missing.retry_after.and_then(|delay| Duration::try_from(delay).ok()),
            limit: Some(missing.limit).filter(|limit| !limit.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use prost_types::Any;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn status_with(code: Code, details: Vec<Any>) -> Status {
        let status = pb::Status { code: code as i32, message: "words".into(), details };
        Status::with_details(code, "words", status.encode_to_vec().into())
    }

    fn detail(name: &str, message: &impl Message) -> Any {
        Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
    }

    fn reason(reason: &str) -> Any {
        let info = pb::ErrorInfo {
            reason: reason.into(),
            domain: ERROR_DOMAIN.into(),
            metadata: HashMap::from([("user_id".into(), "bob".into())]),
        };
        detail("google.rpc.ErrorInfo", &info)
    }

    #[test]
    fn a_failed_reserve_lists_what_is_missing() {
        let missing = v1::MissingTarget {
            user_id: "bob".into(),
            device_id: "phone".into(),
            reason: ErrorReason::PoolExhausted.into(),
            message: "none left".into(),
            ..Default::default()
        };
        let details = v1::ReserveErrorDetails { missing: vec![missing], omitted_count: 0 };
        let details = detail("keypool.v1.ReserveErrorDetails", &details);
        let status = status_with(Code::FailedPrecondition, vec![reason("POOL_EXHAUSTED"), details]);

        let error = Error::from(status);

        assert!(matches!(error, Error::PoolExhausted(_)), "{error:?}");
        assert_eq!(error.reason(), Some(ErrorReason::PoolExhausted));
        assert_eq!(error.to_string(), "POOL_EXHAUSTED: words");
        assert_eq!(error.failure().unwrap().metadata["user_id"], "bob");
        assert_eq!(error.missing()[0].device_id.as_deref(), Some("phone"));
        assert_eq!(error.missing()[0].reason, ErrorReason::PoolExhausted);
        assert!(!error.is_retryable());
    }

    #[test]
    fn standard_details_are_read() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("INVALID_ARGUMENT", ERROR_DOMAIN, HashMap::new())
            .add_bad_request_violation("targets[2].user_id", "is empty")
            .set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::InvalidArgument, "no", details);

        let error = Error::from(status);

        assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
        assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
        assert_eq!(error.failure().unwrap().violations[0].field, "targets[2].user_id");
        assert_eq!(error.to_string(), "INVALID_ARGUMENT: no; targets[2].user_id: is empty");
    }

    #[test]
    fn an_unknown_reason_is_treated_by_its_code() {
        let error = Error::from(status_with(Code::Unavailable, vec![reason("NEW_ONE")]));
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        assert_eq!(error.reason(), None);

        let error = Error::from(status_with(Code::Unimplemented, vec![]));
        assert!(matches!(error, Error::Other(_)), "{error:?}");
    }

    #[test]
    fn a_foreign_domain_is_no_reason() {
        let info = pb::ErrorInfo {
            reason: "POOL_EXHAUSTED".into(),
            domain: "proxy.example".into(),
            metadata: HashMap::new(),
        };
        let status =
            status_with(Code::PermissionDenied, vec![detail("google.rpc.ErrorInfo", &info)]);
        assert!(matches!(Error::from(status), Error::PermissionDenied(_)));
    }

    #[test]
    fn garbage_in_the_details_does_no_harm() {
        let status = Status::with_details(Code::Internal, "words", vec![0xff; 64].into());
        assert!(matches!(Error::from(status), Error::Internal(_)));

        let garbage =
            Any { type_url: "x/keypool.v1.ReserveErrorDetails".into(), value: vec![0xff; 9] };
        let error = Error::from(status_with(Code::NotFound, vec![reason("UNKNOWN_USER"), garbage]));
        assert!(matches!(error, Error::UnknownUser(_)), "{error:?}");
        assert!(error.missing().is_empty());
    }

    #[test]
    fn every_reason_has_its_variant() {
        let reasons: Vec<_> = (1..100).filter_map(|n| ErrorReason::try_from(n).ok()).collect();
        assert!(reasons.len() > 20);
        for reason in reasons {
            let mut failure = Failure::new(Code::Unknown, "");
            failure.reason = Some(reason);
            let error = for_reason(reason)(Box::new(failure));
            assert!(!matches!(error, Error::Other(_)), "{reason:?}");
            assert_eq!(error.reason(), Some(reason));
        }
    }

    #[test]
    fn tonics_own_expiry_is_a_deadline() {
        let error = Error::from(Status::cancelled("Timeout expired"));
        assert!(matches!(error, Error::DeadlineExceeded(_)), "{error:?}");
    }
}
