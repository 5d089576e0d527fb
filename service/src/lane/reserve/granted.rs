//! What a reserve reached, which nobody loses: it is claimed or given back.

use super::{DeviceOutcome, Outcome, ReserveCall};
use crate::{
    lane::{
        Family, LaneError, Lanes,
        hold::{Hold, HoldCall},
    },
    store::{DeviceKey, HeldItem, ReleaseItem, ReservedRow},
    types::{Holder, ReservationId},
};
use std::sync::Arc;

/// What a reserve reached. Dropped before it is claimed, it gives back what it has taken and nobody has asked for since. What
/// it has found stays: an earlier try may have been answered with it, and this one may have come late.
pub struct Granted {
    call: Arc<ReserveCall>,
    outcomes: Vec<DeviceOutcome>,
    hold: Arc<Family<Hold>>,
}

impl Granted {
    pub(in crate::lane) fn nothing(call: Arc<ReserveCall>, hold: Arc<Family<Hold>>) -> Self {
        Self { call, outcomes: Vec::new(), hold }
    }

    pub(super) fn push(&mut self, outcome: DeviceOutcome) {
        self.outcomes.push(outcome);
    }

    pub(in crate::lane) fn add(&mut self, other: Self) {
        self.outcomes.extend(other.claim());
    }

    /// One element for each device of the targets, ordered by user and device within each part of a call.
    #[must_use]
    pub fn outcomes(&self) -> &[DeviceOutcome] {
        &self.outcomes
    }

    /// Takes what was reached: it is the caller's from now on.
    #[must_use]
    pub fn claim(mut self) -> Vec<DeviceOutcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Gives back what is held, but for what somebody has asked for again since.
    ///
    /// # Errors
    /// If the database fails; then the holds end with their time.
    pub async fn give_back(self, lanes: &Lanes) -> Result<(), LaneError> {
        let items = self.releases(|_| true);
        let _outcomes = self.claim();
        if !items.is_empty() {
            lanes.hold(HoldCall::Release(items)).await?;
        }
        Ok(())
    }

    fn releases(&self, which: impl Fn(&ReservedRow) -> bool) -> Vec<ReleaseItem> {
        let release = |one: &DeviceOutcome| {
            let (Outcome::Reserved(row), Some(device)) = (&one.outcome, &one.device) else {
                return None;
            };
            let device = DeviceKey::new(one.user.clone(), device.clone());
            (!row.spent && which(row))
                .then(|| release_item(&device, &self.call.reservation, &self.call.holder, row))
        };
        self.outcomes.iter().filter_map(release).collect()
    }
}

/// The release of what was just reserved, unless it is asked for again before.
pub(super) fn release_item(
    device: &DeviceKey,
    reservation: &ReservationId,
    holder: &Holder,
    row: &ReservedRow,
) -> ReleaseItem {
    ReleaseItem {
        held: HeldItem {
            device: device.clone(),
            reference: row.reference.clone(),
            reservation: reservation.clone(),
            holder: Some(holder.clone()),
        },
        unusable_reason: None,
        asked_at: row.asked_at,
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        // Last-resort packages are shared: a hold on one keeps nobody waiting.
        let items = self.releases(|row| row.asked_at.is_some() && !row.found);
        for (lane, _, call) in HoldCall::Release(items).split(&self.hold) {
            // In vain if the lanes are full or closed: then the holds end with their time.
            let _ = self.hold.lane(lane).push_unattended(call);
        }
    }
}
