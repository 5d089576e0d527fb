//! What the SDK says of a reservation.

use super::{Checker, Micros};
use keypool_client::{Reservation, ReservedPackage};
use std::time::{Duration, UNIX_EPOCH};

impl Checker {
    /// Notes what a reservation holds, for a time that was asked for.
    pub(crate) fn holds(&self, reservation: &Reservation, ttl: Duration) {
        for package in reservation.packages().iter().filter(|package| !package.last_resort) {
            if let Some(end) = end_of_hold(package) {
                self.held(&package.name.key_package_ref, reservation.id(), end, ttl);
            }
        }
    }
}

/// When a hold ends.
pub(crate) fn end_of_hold(package: &ReservedPackage) -> Option<Micros> {
    let since = package.hold_expires?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok().map(Micros)
}
