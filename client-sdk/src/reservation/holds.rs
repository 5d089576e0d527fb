//! Packages that are held, by their names: all it takes to prolong holds and to end them.

use std::time::{Duration, SystemTime};

use keypool_proto::v1::{
    ExtendReservationRequest, KeyPackageName, ReleaseReservationRequest, ReleasedKeyPackage,
    ReserveKeyPackagesRequest, UnusableReason,
};

use super::MAX_PACKAGES_PER_CALL;
use crate::package::to_time;
use crate::reserve::to_proto;
use crate::{Client, Error, ReservedPackage, Result};

/// Packages that a reservation holds. It may live longer than the reservation.
pub(crate) struct Holds {
    reservation_id: String,
    on_behalf_of: String,
    names: Vec<KeyPackageName>,
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

    /// Prolongs the holds, by as many calls as it takes, and tells after each which ones now last
    /// until when.
    pub(crate) async fn extend(
        &self,
        client: &Client,
        ttl: Duration,
        mut extended: impl FnMut(&[KeyPackageName], SystemTime),
    ) -> Result<()> {
        for names in self.names.chunks(MAX_PACKAGES_PER_CALL) {
            let request = ExtendReservationRequest {
                reservation_id: self.reservation_id.clone(),
                packages: names.to_vec(),
                ttl: Some(to_proto(ttl)),
                on_behalf_of: self.on_behalf_of.clone(),
            };
            let end = to_time(client.call(request).await?.expire_time)?;
            extended(names, end.ok_or_else(|| Error::protocol("a hold without an end"))?);
        }
        Ok(())
    }

    /// Gives the packages back, or sets them aside if there is a reason why they are unusable.
    pub(super) async fn release(&self, client: &Client, reason: UnusableReason) -> Result<()> {
        for names in self.names.chunks(MAX_PACKAGES_PER_CALL) {
            let released = |name: &KeyPackageName| ReleasedKeyPackage {
                name: Some(name.clone()),
                unusable_reason: reason.into(),
            };
            let request = ReleaseReservationRequest {
                reservation_id: self.reservation_id.clone(),
                packages: names.iter().map(released).collect(),
                on_behalf_of: self.on_behalf_of.clone(),
            };
            client.call(request).await?;
        }
        Ok(())
    }
}
