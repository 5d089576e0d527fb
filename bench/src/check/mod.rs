//! keypool's promises, checked on every answer: a fast wrong answer is none.

mod answer;
mod books;
mod history;
mod reservation;
mod violations;

pub(crate) use answer::Expected;
pub(crate) use books::check_books;
pub(crate) use reservation::end_of_hold;
pub(crate) use violations::{Violation, Violations};

use history::{Histories, Hold};
use prost_types::Timestamp;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Checks answers against all earlier ones. Keeps one entry for each package.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    histories: Histories,
    violations: Violations,
    reserved: AtomicU64,
    spent: AtomicU64,
}

impl Checker {
    /// Notes that a reservation holds a package until some moment, for a time before it.
    pub(crate) fn held(&self, package_ref: &[u8], reservation: &str, end: Micros, ttl: Duration) {
        self.reserved.fetch_add(1, Ordering::Relaxed);
        let hold = Hold { reservation: key(reservation), start: end.before(ttl), end };
        if let Some(violation) = self.histories.held(package_ref, hold) {
            self.violations.note(violation, reservation);
        }
    }

    /// Notes that a reservation has spent a package.
    pub(crate) fn spent(&self, package_ref: &[u8], reservation: &str) {
        self.spent.fetch_add(1, Ordering::Relaxed);
        if let Some(violation) = self.histories.spent(package_ref, key(reservation)) {
            self.violations.note(violation, reservation);
        }
    }

    /// Notes a violation that one answer alone shows.
    pub(crate) fn violated(&self, violation: Violation, what: &str) {
        self.violations.note(violation, what);
    }

    /// What was violated.
    pub(crate) fn violations(&self) -> &Violations {
        &self.violations
    }

    /// How many packages were reserved, repeats included.
    pub(crate) fn count_reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// How many packages were spent.
    pub(crate) fn count_spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }
}

/// A moment, in microseconds since 1970: what the database keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Micros(pub(crate) i64);

impl Micros {
    /// A moment so much earlier.
    pub(crate) fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }

    /// A moment so much later.
    pub(crate) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }
}

impl From<&Timestamp> for Micros {
    fn from(time: &Timestamp) -> Self {
        Self(time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1000))
    }
}

impl From<jiff::Timestamp> for Micros {
    fn from(time: jiff::Timestamp) -> Self {
        Self(time.as_microsecond())
    }
}

/// A span in microseconds.
fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// A reservation in few bytes.
fn key(reservation: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    reservation.hash(&mut hasher);
    hasher.finish()
}
