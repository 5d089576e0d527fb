//! What keeps a pool from being as it should be.

use std::fmt;
use std::time::{Duration, SystemTime};

use keypool_proto::v1::{RejectionReason, UnusableReason};

/// What keeps a pool from being as it should be, although the refresh itself did not fail. Its text is
/// for a log or a developer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeeperProblem {
    /// The service rejected new packages.
    Rejected(Rejections),

    /// The device's clock is further from the service's than the
    /// [clock margin](super::PoolKeeperBuilder::clock_margin): lifetimes begin in the future, or end
    /// before they should.
    WrongClock(ClockOffset),

    /// After the refresh, the pool of a cipher suite was still low, or had no last-resort package.
    Understocked {
        /// The number of the cipher suite.
        cipher_suite: u16,
        /// How many one-time packages could be handed out.
        available: u64,
        /// Whether there was a last-resort package.
        last_resort: bool,
    },

    /// Inviters gave packages of the device back as unusable. Told as long as the device remembers the
    /// packages, which is until about two days after they have left its pool.
    Unusable {
        /// What is wrong with them.
        reason: UnusableReason,
        /// How many there are.
        count: usize,
    },

    /// Another install uploads packages for the same device id, such as the old phone beside a new one
    /// that was restored from its backup. Each takes the other's packages out of the pool. Give one of
    /// them another device id. Told until three days after it was last noticed.
    OtherInstall {
        /// Until when this keeper leaves the pool to the other install. `None` if it fills the pool.
        rests_until: Option<SystemTime>,
    },
}

impl KeeperProblem {
    /// The same for problems that differ in numbers only.
    pub(super) fn kind(&self) -> (u8, i32) {
        match self {
            Self::Rejected(rejections) => (0, rejections.reason.into()),
            Self::WrongClock(_) => (1, 0),
            Self::Understocked { cipher_suite, .. } => (2, (*cipher_suite).into()),
            Self::Unusable { reason, .. } => (3, (*reason).into()),
            Self::OtherInstall { .. } => (4, 0),
        }
    }
}

impl fmt::Display for KeeperProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(Rejections { reason, count, message }) => {
                write!(f, "{count} packages rejected: {}: {message}", reason.as_reason())
            }
            Self::WrongClock(offset) => write!(f, "the device's clock is {offset}"),
            Self::Understocked { cipher_suite, available, last_resort } => {
                let last_resort = if *last_resort { "a" } else { "no" };
                write!(
                    f,
                    "the pool of cipher suite {cipher_suite} has {available} packages available and \
                     {last_resort} last resort"
                )
            }
            Self::Unusable { reason, count } => {
                let reason = reason.as_reason();
                write!(f, "inviters gave {count} packages back as unusable: {reason}")
            }
            Self::OtherInstall { .. } => f.write_str("another install uses this device id"),
        }
    }
}

/// Packages that the service rejected for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejections {
    /// Why.
    pub reason: RejectionReason,
    /// How many.
    pub count: usize,
    /// The reason in words, as the service gave it for the first of them.
    pub message: String,
}

/// How far the device's clock is from the service's, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockOffset {
    /// The device's clock is so much later, or the same.
    Ahead(Duration),
    /// The device's clock is so much earlier.
    Behind(Duration),
}

impl ClockOffset {
    pub(super) fn between(device: SystemTime, service: SystemTime) -> Self {
        let whole = |span: Duration| Duration::from_secs(span.as_secs());
        match device.duration_since(service) {
            Ok(span) => Self::Ahead(whole(span)),
            Err(error) => Self::Behind(whole(error.duration())),
        }
    }

    /// The distance, in either direction.
    #[must_use]
    pub fn distance(self) -> Duration {
        match self {
            Self::Ahead(span) | Self::Behind(span) => span,
        }
    }
}

impl fmt::Display for ClockOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead(span) => write!(f, "{} s ahead of the service's", span.as_secs()),
            Self::Behind(span) => write!(f, "{} s behind the service's", span.as_secs()),
        }
    }
}
