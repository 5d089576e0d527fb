//! Packages that are held, by their names: all it takes to prolong holds and to end them.

use std::time::{Duration, SystemTime};

use keypool_proto::v1::{
    ErrorReason, ExtendReservationRequest, ExtendReservationResponse, KeyPackageName,
    ReleaseReservationRequest, ReleasedKeyPackage, ReserveKeyPackagesRequest, UnusableReason,
};
use tokio::time::Instant;

use super::MAX_PACKAGES_PER_CALL;
use super::outcomes::{Outcomes, checked};
use crate::package::to_time;
use crate::reserve::to_proto;
use crate::{Client, Error, ReservedPackage, Result};

/// Packages that a reservation holds. It may live longer than the reservation.
pub(crate) struct Holds {
    reservation_id: String,
    on_behalf_of: String,
    names: Vec<KeyPackageName>,
}

/// What an extend did.
pub(crate) struct Extended {
    /// Until when the packages that are still held are held now. `None` if that is not known.
    pub(crate) end: Option<HoldEnd>,
    /// The first failure.
    pub(crate) failure: Option<Error>,
}

/// When a hold ends.
#[derive(Clone, Copy)]
pub(crate) struct HoldEnd {
    /// By the service's clock.
    pub(super) time: SystemTime,
    /// By this process's clock, or a little before: by as much as the answer took. `None` if the service
    /// did not tell its time. The machine's own clock, which may be wrong, plays no part in it.
    pub(crate) instant: Option<Instant>,
}

impl HoldEnd {
    fn of(answer: ExtendReservationResponse, asked_at: Instant) -> Result<Self> {
        let time = to_time(answer.expire_time)?;
        let time = time.ok_or_else(|| Error::protocol("a hold without an end"))?;
        let left = |told| time.duration_since(told).unwrap_or_default();
        let left = to_time(answer.service_time)?.map(left);
        Ok(Self { time, instant: left.and_then(|left| asked_at.checked_add(left)) })
    }
}

impl Holds {
    /// What the reservation of this request holds of these packages: all but the spent ones.
    pub(super) fn of(request: &ReserveKeyPackagesRequest, packages: &[ReservedPackage]) -> Self {
        let unspent = packages.iter().filter(|package| !package.spent);
        Self::named(request, unspent.map(|package| package.name.clone()).collect())
    }

    /// Holds of the reservation of this request, on packages of these names.
    pub(super) fn named(request: &ReserveKeyPackagesRequest, names: Vec<KeyPackageName>) -> Self {
        Self {
            reservation_id: request.reservation_id.clone(),
            on_behalf_of: request.on_behalf_of.clone(),
            names,
        }
    }

    /// The packages.
    pub(super) fn names(&self) -> &[KeyPackageName] {
        &self.names
    }

    /// Whether nothing is held any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// In parts, each of which one call takes.
    pub(crate) fn per_call(self) -> impl Iterator<Item = Self> {
        let Self { reservation_id, on_behalf_of, names } = self;
        let parts: Vec<_> = names.chunks(MAX_PACKAGES_PER_CALL).map(<[_]>::to_vec).collect();
        parts.into_iter().map(move |names| Self {
            reservation_id: reservation_id.clone(),
            on_behalf_of: on_behalf_of.clone(),
            names,
        })
    }

    /// Prolongs the holds of one part, by `ttl` or else by the service's default. Packages that turn
    /// out to be held no more leave it, and the others are prolonged all the same.
    pub(crate) async fn extend(&mut self, client: &Client, ttl: Option<Duration>) -> Extended {
        let mut failure = None;
        loop {
            let asked_at = Instant::now();
            let answer = client.call(self.extend_request(ttl)).await;
            let answer = checked(&self.names, answer, |answer| &answer.outcomes);
            let error = match answer.and_then(|answer| HoldEnd::of(answer, asked_at)) {
                Ok(end) => return Extended { end: Some(end), failure },
                Err(error) => error,
            };
            let held = self.names.len();
            self.names.retain(|name| !is_gone(name, &error));
            failure.get_or_insert(error);
            // The others are extended; once more, to learn until when.
            if self.names.len() == held || self.is_empty() {
                return Extended { end: None, failure };
            }
        }
    }

    fn extend_request(&self, ttl: Option<Duration>) -> ExtendReservationRequest {
        ExtendReservationRequest {
            reservation_id: self.reservation_id.clone(),
            packages: self.names.clone(),
            ttl: ttl.map(to_proto),
            on_behalf_of: self.on_behalf_of.clone(),
        }
    }

    /// Gives the packages back, or sets them aside if there is a reason why they are unusable. Tries
    /// each of them, whatever becomes of the others.
    pub(super) async fn release(self, client: &Client, reason: UnusableReason) -> Result<()> {
        let mut outcomes = Outcomes::default();
        for part in self.per_call() {
            let released = |name: &KeyPackageName| ReleasedKeyPackage {
                name: Some(name.clone()),
                unusable_reason: reason.into(),
            };
            let request = ReleaseReservationRequest {
                packages: part.names.iter().map(released).collect(),
                reservation_id: part.reservation_id,
                on_behalf_of: part.on_behalf_of,
            };
            let answer = client.call(request).await;
            match checked(&part.names, answer, |answer| &answer.outcomes) {
                Ok(_) => outcomes.succeeded(&part.names),
                Err(error) => outcomes.failed(error),
            }
        }
        outcomes.into_result()
    }
}

/// Whether the package is not the reservation's any more, and won't be again by extending it.
fn is_gone(name: &KeyPackageName, error: &Error) -> bool {
    error.outcomes().iter().any(|outcome| {
        outcome.name == *name
            && matches!(
                outcome.reason,
                Some(
                    ErrorReason::KeyPackageAlreadySpent
                        | ErrorReason::KeyPackageExpired
                        | ErrorReason::KeyPackageRevoked
                        | ErrorReason::ReservationNotFound
                        | ErrorReason::ReservationLost
                        | ErrorReason::ReservationIdReused
                        | ErrorReason::HoldTooLong
                )
            )
    })
}
