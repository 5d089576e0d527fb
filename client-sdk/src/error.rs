//! What a call can fail with.

use std::collections::BTreeMap;
use std::time::Duration;

use keypool_proto::v1::{ErrorReason, KeyPackageFailure, KeyPackageName, MissingTarget};
use tonic::Code;

use crate::{ConfigError, WrongAnswer};

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
///
/// Each variant with a [`Failure`] is an answer of the service, named after its
/// [`ErrorReason`]. Branch on the variant, never on the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A target device has no package left, and no last-resort package either.
    #[error("{0}")]
    PoolExhausted(Box<Failure>),

    /// A target device has packages, but none of a wanted cipher suite that stays valid for long
    /// enough.
    #[error("{0}")]
    NoCompatiblePackage(Box<Failure>),

    /// No device of this user ever uploaded a package.
    #[error("{0}")]
    UnknownUser(Box<Failure>),

    /// This device of the user never uploaded a package.
    #[error("{0}")]
    UnknownDevice(Box<Failure>),
    /// The device has never uploaded, and its user has as many devices as it may: nothing was stored.
    #[error("{0}")]
    TooManyDevices(Box<Failure>),

    /// Another reservation spent the package: a Welcome made from it must not be sent.
    #[error("{0}")]
    KeyPackageAlreadySpent(Box<Failure>),

    /// The package's lifetime ended before it was spent.
    #[error("{0}")]
    KeyPackageExpired(Box<Failure>),

    /// The package is revoked, and the grace for open holds is over.
    #[error("{0}")]
    KeyPackageRevoked(Box<Failure>),

    /// The reservation does not hold the package.
    #[error("{0}")]
    ReservationNotFound(Box<Failure>),

    /// The hold lapsed and the package went to another reservation: a Welcome made from it must not
    /// be sent.
    #[error("{0}")]
    ReservationLost(Box<Failure>),

    /// The holder uses the reservation id for another group.
    #[error("{0}")]
    ReservationIdReused(Box<Failure>),

    /// The hold has lapsed, and was as long as a hold may be in all: it can't be prolonged. The
    /// package may still be spent.
    #[error("{0}")]
    HoldTooLong(Box<Failure>),

    /// The caller asks too much. [`Error::retry_after`] says when to come back.
    #[error("{0}")]
    RateLimited(Box<Failure>),

    /// More calls wait than the service may queue, or so many were refused of late that this one was
    /// not sent. The last try did nothing; one before it, whose answer was lost, may have.
    #[error("{0}")]
    Overloaded(Box<Failure>),

    /// Other calls kept what this one is about locked. [`Error::outcomes`] and [`Error::missing`] say
    /// what was not done; without them, a part of it may have been.
    #[error("{0}")]
    Contended(Box<Failure>),

    /// The service, or its database, can't be reached: what the call asked for may or may not have
    /// happened.
    #[error("{0}")]
    Unavailable(Box<Failure>),

    /// The request breaks its contract. [`Failure::violations`] lists each field that does.
    #[error("{0}")]
    InvalidArgument(Box<Failure>),

    /// The deadline passed: what the call asked for may or may not have happened.
    #[error("{0}")]
    DeadlineExceeded(Box<Failure>),

    /// The caller did not prove who it is.
    #[error("{0}")]
    Unauthenticated(Box<Failure>),

    /// The caller is known and may not do this.
    #[error("{0}")]
    PermissionDenied(Box<Failure>),

    /// The service broke one of its own rules; its log says which.
    #[error("{0}")]
    Internal(Box<Failure>),

    /// A status, or a reason, that this version of the crate has no name for.
    #[error("{0}")]
    Other(Box<Failure>),

    /// The connection failed: what the call asked for may or may not have happened.
    #[error("can't talk to the keypool service: {}", root_cause(.0.as_ref()))]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The service answered something that breaks the contract.
    #[error("the keypool service broke its contract: {0}")]
    Protocol(String),

    /// The application's [`TokenProvider`](crate::TokenProvider) gave no token.
    #[error("no token for the keypool service: {0}")]
    Token(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The answer does not fit the call: it is incomplete, or about something else. What it says that it
    /// reserved is given back. Whether anything else happened is not known.
    #[error("the answer of the keypool service does not fit the call: {0}")]
    WrongAnswer(#[source] Box<WrongAnswer>),

    /// The client can't be built like this. Calls don't fail with it.
    #[error("{0}")]
    Configuration(#[from] ConfigError),
}

impl Error {
    /// The service's reason, if it gave one that this version knows.
    #[must_use]
    pub fn reason(&self) -> Option<ErrorReason> {
        self.failure().and_then(|failure| failure.reason)
    }

    /// Whether the same call, repeated word for word, may succeed a little later.
    ///
    /// The client has repeated such a call already, for as long as its deadline and its
    /// [`RetryPolicy`](crate::RetryPolicy) let it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::Overloaded(_)
                | Self::Contended(_)
                | Self::RateLimited(_)
                | Self::Transport(_)
                | Self::Token(_)
        )
    }

    /// How long the service asks to wait before the next try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.failure().and_then(|failure| failure.retry_after)
    }

    /// The users and devices for which nothing was reserved. Empty but for failed reserves.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        self.failure().map_or(&[], |failure| &failure.missing)
    }

    /// What became of each package of a failed spend, release or extend. Empty for other calls, and
    /// where the whole call was refused. Where it took several calls, this lists the packages of those
    /// that were answered, unless none of them failed.
    #[must_use]
    pub fn outcomes(&self) -> &[PackageOutcome] {
        self.failure().map_or(&[], |failure| &failure.outcomes)
    }

    /// The service's answer. `None` for [`Error::Transport`], [`Error::Protocol`],
    /// [`Error::WrongAnswer`], [`Error::Token`] and [`Error::Configuration`].
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::PoolExhausted(failure)
            | Self::NoCompatiblePackage(failure)
            | Self::UnknownUser(failure)
            | Self::UnknownDevice(failure)
            | Self::TooManyDevices(failure)
            | Self::KeyPackageAlreadySpent(failure)
            | Self::KeyPackageExpired(failure)
            | Self::KeyPackageRevoked(failure)
            | Self::ReservationNotFound(failure)
            | Self::ReservationLost(failure)
            | Self::ReservationIdReused(failure)
            | Self::HoldTooLong(failure)
            | Self::RateLimited(failure)
            | Self::Overloaded(failure)
            | Self::Contended(failure)
            | Self::Unavailable(failure)
            | Self::InvalidArgument(failure)
            | Self::DeadlineExceeded(failure)
            | Self::Unauthenticated(failure)
            | Self::PermissionDenied(failure)
            | Self::Internal(failure)
            | Self::Other(failure) => Some(failure),
            Self::Transport(_)
            | Self::Protocol(_)
            | Self::WrongAnswer(_)
            | Self::Token(_)
            | Self::Configuration(_) => None,
        }
    }

    /// The variant, as metrics and spans call it.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::PoolExhausted(_) => "pool_exhausted",
            Self::NoCompatiblePackage(_) => "no_compatible_package",
            Self::UnknownUser(_) => "unknown_user",
            Self::UnknownDevice(_) => "unknown_device",
            Self::TooManyDevices(_) => "too_many_devices",
            Self::KeyPackageAlreadySpent(_) => "key_package_already_spent",
            Self::KeyPackageExpired(_) => "key_package_expired",
            Self::KeyPackageRevoked(_) => "key_package_revoked",
            Self::ReservationNotFound(_) => "reservation_not_found",
            Self::ReservationLost(_) => "reservation_lost",
            Self::ReservationIdReused(_) => "reservation_id_reused",
            Self::HoldTooLong(_) => "hold_too_long",
            Self::RateLimited(_) => "rate_limited",
            Self::Overloaded(_) => "overloaded",
            Self::Contended(_) => "contended",
            Self::Unavailable(_) => "unavailable",
            Self::InvalidArgument(_) => "invalid_argument",
            Self::DeadlineExceeded(_) => "deadline_exceeded",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::PermissionDenied(_) => "permission_denied",
            Self::Internal(_) => "internal",
            Self::Other(_) => "other",
            Self::Transport(_) => "transport",
            Self::Protocol(_) => "protocol",
            Self::WrongAnswer(_) => "wrong_answer",
            Self::Token(_) => "token",
            Self::Configuration(_) => "configuration",
        }
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol(what.into())
    }
}

/// The outer errors of a connection say no more than "transport error".
pub(crate) fn root_cause<'a>(
    error: &'a (dyn std::error::Error + Send + Sync + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    let mut cause: &'a (dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// What the service said about a call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The gRPC status code.
    pub code: Code,
    /// The reason, if the service gave one that this version knows.
    pub reason: Option<ErrorReason>,
    /// The failure in words, for a log or a developer.
    pub message: String,
    /// The ids that the reason is about: `user_id`, `device_id`, `reservation_id`, and
    /// `key_package_ref` in hexadecimal.
    pub metadata: BTreeMap<String, String>,
    /// How long to wait before the next try.
    pub retry_after: Option<Duration>,
    /// The fields of the request that break its contract.
    pub violations: Vec<FieldViolation>,
    /// The users and devices for which nothing was reserved.
    pub missing: Vec<Missing>,
    /// What became of each package of a spend, release or extend.
    pub outcomes: Vec<PackageOutcome>,
    /// What is missing, as it was told: maybe by nothing but positions in the call.
    pub(crate) missing_targets: Vec<MissingTarget>,
    /// The packages that failed, by their positions in the call: what the outcomes are made from.
    pub(crate) failed_packages: Vec<KeyPackageFailure>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: None,
            message: message.into(),
            metadata: BTreeMap::new(),
            retry_after: None,
            violations: Vec::new(),
            missing: Vec::new(),
            outcomes: Vec::new(),
            missing_targets: Vec::new(),
            failed_packages: Vec::new(),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.reason {
            Some(reason) => write!(f, "{}: {}", reason.as_reason(), self.message)?,
            None => write!(f, "{:?}: {}", self.code, self.message)?,
        }
        for violation in &self.violations {
            write!(f, "; {}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

/// A field of a request that breaks its contract.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldViolation {
    /// The field's path, as in `targets[2].user_id`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// A user or device for which nothing was reserved, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Missing {
    /// The user.
    pub user_id: String,
    /// The device. `None` where the reason concerns the whole user.
    pub device_id: Option<String>,
    /// Why: pool exhausted, no compatible package, unknown user or device, rate limited or contended.
    /// [`ErrorReason::Unspecified`] if this version doesn't know the reason.
    pub reason: ErrorReason,
    /// The reason in words, for a log or a developer. Empty where an error is about many.
    pub message: String,
    /// If rate limited: how long to wait before the limit allows a reserve of this device.
    #[cfg_attr(feature = "serde", serde(default))]
    pub retry_after: Option<Duration>,
    /// If rate limited: the limit's name, as in `holds`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub limit: Option<String>,
}

/// What became of one package of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackageOutcome {
    /// The package.
    pub name: KeyPackageName,
    /// Why it failed. `None` if it did not.
    pub reason: Option<ErrorReason>,
}
