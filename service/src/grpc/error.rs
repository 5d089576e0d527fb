//! Errors into `google.rpc.Status`: the one place that maps them. No message carries SQL, a driver's text, or a path.

use super::{
    encode,
    error_details::{few, reserve_details, with_details},
};
use crate::{
    auth::{Method, Roles},
    causes::causes,
    jitter::part_of,
    limits::{Limit, Limited, WatchLimit},
    pool::{HoldFault, MissingReason, MissingTarget, PackageFault, PoolError},
    store::StoreError,
    telemetry::Burst,
    types::ReservationId,
};
use http::{HeaderMap, Response};
use http_body::Frame;
use jiff::SignedDuration;
use keypool_proto::{
    ERROR_DOMAIN,
    v1::{self, ErrorReason, KeyPackageErrorDetails},
};
use std::{cmp::Reverse, collections::HashMap, sync::LazyLock, time::Duration};
use tonic::{Code, Status, body::Body, codegen::Bytes};
use tonic_types::{ErrorDetails, PreconditionViolation, StatusExt};

/// When to try again what a passing state of the service refused.
const RETRY_SOON: Duration = Duration::from_millis(200);

/// When to try again what waits for calls under way to end.
pub(super) const RETRY_CALLS: SignedDuration = SignedDuration::from_millis(200);

/// When to try again to watch at the earliest, and how much more at random: watches may last for months, so a place that
/// is not free now won't be soon, and those that were refused together must not come back together.
const WATCH_AGAIN: Duration = Duration::from_secs(60);
const WATCH_AGAIN_SPREAD: Duration = Duration::from_secs(30);

/// The status code of each reason.
fn code(reason: ErrorReason) -> Code {
    match reason {
        ErrorReason::InvalidArgument => Code::InvalidArgument,
        ErrorReason::PoolExhausted
        | ErrorReason::NoCompatiblePackage
        | ErrorReason::KeyPackageExpired
        | ErrorReason::HoldTooLong
        | ErrorReason::KeyPackageRevoked => Code::FailedPrecondition,
        ErrorReason::UnknownUser
        | ErrorReason::UnknownDevice
        | ErrorReason::ReservationNotFound => Code::NotFound,
        ErrorReason::KeyPackageAlreadySpent | ErrorReason::ReservationIdReused => {
            Code::AlreadyExists
        }
        ErrorReason::ReservationLost => Code::Aborted,
        ErrorReason::PermissionDenied => Code::PermissionDenied,
        ErrorReason::RateLimited | ErrorReason::TooManyWatches | ErrorReason::TooManyDevices => {
            Code::ResourceExhausted
        }
        ErrorReason::Overloaded
        | ErrorReason::DatabaseUnavailable
        | ErrorReason::IssuerUnavailable
        | ErrorReason::ShuttingDown
        | ErrorReason::Contended => Code::Unavailable,
        ErrorReason::Unauthenticated => Code::Unauthenticated,
        ErrorReason::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorReason::Internal | ErrorReason::Unspecified => Code::Internal,
    }
}

/// INVALID_ARGUMENT with the path of each field and what is wrong with it.
pub(super) fn invalid_argument(violations: Vec<(String, String)>) -> Status {
    let mut details = details(ErrorReason::InvalidArgument, []);
    let mut message = String::from("Invalid request");
    for (n, (field, description)) in violations.into_iter().enumerate() {
        message.push_str(if n == 0 { ": " } else { "; " });
        message.push_str(&format!("{field} {description}"));
        details.add_bad_request_violation(field, description);
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// The caller did not prove who it is.
pub(super) fn unauthenticated(why: &str) -> Status {
    status(ErrorReason::Unauthenticated, &format!("Unauthenticated: {why}"), [])
}

/// The keys of the tokens' issuer can't be had.
pub(super) fn issuer_unavailable() -> Status {
    let message = "The keys of the tokens' issuer can't be had at the moment: try again";
    status(ErrorReason::IssuerUnavailable, message, [])
}

/// The caller is known, and may not do this.
pub(super) fn permission_denied(method: Method, roles: Roles) -> Status {
    let message = format!(
        "Not allowed: the roles of the caller ({roles}) do not include {method} about this"
    );
    status(ErrorReason::PermissionDenied, &message, [])
}

/// The caller is known, and may not reserve packages of the target in this field.
pub(super) fn not_granted(field: &str) -> Status {
    let message = format!(
        "Not allowed: the caller's token does not grant {field}; a grant of single devices needs device_id"
    );
    status(ErrorReason::PermissionDenied, &message, [("field", field.to_owned())])
}

/// The caller asks too often, or has too much under way.
pub(super) fn rate_limited(limited: Limited) -> Status {
    let limit = limited.limit.name();
    let message =
        format!("The limit {limit:?} was hit: wait before the next call, as RetryInfo says");
    let mut details = details(ErrorReason::RateLimited, [("limit", limit.to_owned())]);
    details.set_retry_info(Some(limited.wait.unsigned_abs()));
    Status::with_error_details(code(ErrorReason::RateLimited), message, details)
}

/// There is no room for another watch.
pub(super) fn too_many_watches(limit: WatchLimit) -> Status {
    Limit::Watches(limit).hit();
    let (name, message) = match limit {
        WatchLimit::Replica => ("replica", "As many pools are watched as this replica allows"),
        WatchLimit::Principal => ("principal", "The caller watches as many pools as it may"),
        WatchLimit::Connection => (
            "connection",
            "The connection has as many watches as it may, health checks and reflection included: use another connection",
        ),
    };
    let mut details = details(ErrorReason::TooManyWatches, [("limit", name.to_owned())]);
    details.set_retry_info(Some(WATCH_AGAIN + part_of(WATCH_AGAIN_SPREAD)));
    Status::with_error_details(code(ErrorReason::TooManyWatches), message, details)
}

/// The connection of a stream has reached its age.
pub(super) fn connection_aged() -> Status {
    let message = "The connection has reached its age: open the stream again, on a new one";
    status(ErrorReason::ShuttingDown, message, [])
}

/// The last frame of an answer that ends with this status.
pub(super) fn last_frame(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))
}

/// The code of a response that is known from its head: not that of a stream that fails later.
pub(super) fn code_of(response: &Response<Body>) -> Code {
    response
        .headers()
        .get(Status::GRPC_STATUS)
        .map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// Too much waits. Made once: who has too much to do must not do more for each that it refuses.
pub(super) fn overloaded() -> Status {
    static OVERLOADED: LazyLock<Status> = LazyLock::new(|| {
        status(ErrorReason::Overloaded, "The service is overloaded: try again", [])
    });
    OVERLOADED.clone()
}

/// The caller's deadline passed.
pub(super) fn deadline_exceeded() -> Status {
    let message = "The deadline passed: repeating the call word for word is safe";
    status(ErrorReason::DeadlineExceeded, message, [])
}

/// The status of a refused or failed reserve of these targets.
pub(super) fn reserve_status(error: PoolError, targets: &[v1::Target]) -> Status {
    match error {
        PoolError::NothingReserved(missing) => nothing_reserved(&missing, targets),
        error => pool_status(error),
    }
}

/// The status of a refused or failed call. Faults of the service are logged here, with their causes.
pub(super) fn pool_status(error: PoolError) -> Status {
    match error {
        PoolError::NothingReserved(missing) => nothing_reserved(&missing, &[]),
        PoolError::ReservationIdReused(reservation) => status(
            ErrorReason::ReservationIdReused,
            "The reservation id is in use for another group: make a new id",
            [("reservation_id", reservation.to_string())],
        ),
        PoolError::Packages(reservation, packages) => packages_failed(&reservation, &packages),
        PoolError::TooManyDevices(user) => status(
            ErrorReason::TooManyDevices,
            "The user has as many devices as it may: this one is new, and its upload was refused",
            [("user_id", user.to_string())],
        ),
        PoolError::UnknownUser(user) => status(
            ErrorReason::UnknownUser,
            encode::missing_message(MissingReason::UnknownUser),
            [("user_id", user.to_string())],
        ),
        PoolError::UnknownDevice(user, device) => status(
            ErrorReason::UnknownDevice,
            encode::missing_message(MissingReason::UnknownDevice),
            [("user_id", user.to_string()), ("device_id", device.to_string())],
        ),
        PoolError::TooManyWatches => too_many_watches(WatchLimit::Replica),
        PoolError::RateLimited(limited) => rate_limited(limited),
        PoolError::ShuttingDown => {
            status(ErrorReason::ShuttingDown, "The service stops: call again", [])
        }
        PoolError::Overloaded | PoolError::Store(StoreError::Busy) => overloaded(),
        PoolError::Store(StoreError::Locked(_)) => {
            status(ErrorReason::Contended, "Other calls keep this locked: try again", [])
        }
        PoolError::Unfinished => status(
            ErrorReason::DatabaseUnavailable,
            "Only a part may have been done: repeat the call word for word",
            [],
        ),
        PoolError::Store(
            error @ (StoreError::Lost(_)
            | StoreError::Unavailable(_)
            | StoreError::Stale(_)
            | StoreError::Conflict(_)),
        ) => {
            static BURST: Burst = Burst::new();
            if BURST.may_log() {
                tracing::warn!(error = %causes(&error), "the database is unavailable");
            }
            status(ErrorReason::DatabaseUnavailable, "The database is unavailable: try again", [])
        }
        error @ (PoolError::Store(StoreError::Internal(_)) | PoolError::Internal(_)) => {
            static BURST: Burst = Burst::new();
            if BURST.may_log() {
                tracing::error!(error = %causes(&error), "internal fault");
            }
            status(ErrorReason::Internal, "Internal fault: the service's log says more", [])
        }
    }
}

fn details(
    reason: ErrorReason,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let mut details = ErrorDetails::with_error_info(reason.as_reason(), ERROR_DOMAIN, metadata);
    match reason {
        ErrorReason::Overloaded
        | ErrorReason::DatabaseUnavailable
        | ErrorReason::IssuerUnavailable
        | ErrorReason::ShuttingDown
        | ErrorReason::Contended => {
            details.set_retry_info(Some(RETRY_SOON));
        }
        _ => {}
    }
    details
}

fn status(
    reason: ErrorReason,
    message: &str,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
) -> Status {
    Status::with_error_details(code(reason), message, details(reason, metadata))
}

fn nothing_reserved(missing: &[MissingTarget], targets: &[v1::Target]) -> Status {
    // The weightiest reason speaks for the call, and the limit that has to be waited out for longest: after that, none refuses.
    let weight =
        |one: &&MissingTarget| (one.reason, Reverse(one.limited.map(|limited| limited.wait)));
    let Some(first) = missing.iter().min_by_key(weight) else {
        return status(ErrorReason::Internal, "Internal fault", []);
    };
    let reason = encode::missing_reason(first.reason);
    let limited = first.limited.filter(|_| reason == ErrorReason::RateLimited);
    let metadata = [
        ("user_id", Some(first.user.to_string())),
        ("device_id", first.device.as_ref().map(ToString::to_string)),
        ("limit", limited.map(|limited| limited.limit.name().to_owned())),
    ];
    let metadata = metadata.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let mut details = details(reason, metadata);
    if let Some(limited) = limited {
        details.set_retry_info(Some(limited.wait.unsigned_abs()));
    }
    let violations = missing.iter().map(|target| {
        let device = target.device.as_ref().map(|device| format!("/{device}")).unwrap_or_default();
        PreconditionViolation::new(
            encode::missing_reason(target.reason).as_reason(),
            format!("{}{device}", target.user),
            encode::missing_message(target.reason),
        )
    });
    details.set_precondition_failure(few(violations));
    let own = reserve_details(missing, targets);
    with_details(code(reason), encode::missing_message(first.reason), details, &own)
}

fn packages_failed(reservation: &ReservationId, packages: &[PackageFault]) -> Status {
    let failed = packages.iter().filter_map(|one| Some((one, one.fault?)));
    let Some((first, fault)) = failed.clone().min_by_key(|(_, fault)| *fault) else {
        return status(ErrorReason::Internal, "Internal fault", []);
    };
    let reason = encode::hold_reason(fault);
    let mut details = details(
        reason,
        [
            ("reservation_id", reservation.to_string()),
            ("user_id", first.name.user.to_string()),
            ("device_id", first.name.device.to_string()),
            ("key_package_ref", first.name.reference.to_string()),
        ],
    );
    let violations = failed.map(|(one, fault)| {
        PreconditionViolation::new(
            encode::hold_reason(fault).as_reason(),
            format!("{}/{}/{}", one.name.user, one.name.device, one.name.reference),
            encode::hold_message(fault),
        )
    });
    details.set_precondition_failure(few(violations));
    let own = KeyPackageErrorDetails { failures: encode::failures(packages) };
    with_details(code(reason), hold_message(fault), details, &own)
}

fn hold_message(fault: HoldFault) -> &'static str {
    encode::hold_message(fault)
}
