//! Where the service takes the time from: its database's clock, so that all replicas have the same.

mod database;
mod shifted;

pub use database::DatabaseClock;
pub use shifted::ShiftedClock;

use jiff::{SignedDuration, Timestamp};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// How far the clocks of a replica's machine and of the database may be apart.
pub const MAX_SKEW: SignedDuration = SignedDuration::from_secs(2);

/// A source of the current time. Passed as a parameter everywhere, so that tests can set it.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time: what holds, lifetimes and purges go by.
    fn now(&self) -> Timestamp;

    /// The time of this machine, which may be wrong. It is compared with the database's, and nothing goes by it.
    fn machine(&self) -> Timestamp {
        self.now()
    }

    /// Takes note of a reading of the database's clock. Clocks that do not follow it ignore that.
    fn note(&self, _reading: &Reading) {}
}

/// What the database's clock showed at some moment between question and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The time that it showed.
    pub time: Timestamp,
    /// When it was asked.
    pub asked: Instant,
    /// When its answer was here.
    pub answered: Instant,
}

impl Reading {
    /// Half the round trip: how far the reading's moment may be from the middle between question and answer.
    #[must_use]
    pub fn uncertainty(&self) -> Duration {
        self.answered.saturating_duration_since(self.asked) / 2
    }

    /// When it was made, give or take its uncertainty.
    #[must_use]
    pub fn moment(&self) -> Instant {
        self.asked + self.uncertainty()
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that asks the machine
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
