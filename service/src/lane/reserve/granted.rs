//! What a reserve reached, which nobody loses: it is claimed or given back.

use super::{DeviceOutcome, Outcome, ReserveCall, new_holds::NewHolds};
use crate::{
    lane::{Family, LaneError, hold::Hold},
    limits::Limited,
    store::{DeviceKey, ReservedRow},
    types::Target,
};
use jiff::Timestamp;
use std::{mem, sync::Arc};

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

    /// Changes what was reached for a device, and returns the package that it had.
    pub(super) fn revise(&mut self, device: &DeviceKey, outcome: Outcome) -> Option<ReservedRow> {
        let is_it = |one: &&mut DeviceOutcome| {
            one.user == device.user && one.device.as_ref() == Some(&device.device)
        };
        let one = self.outcomes.iter_mut().find(is_it)?;
        one.charge = None;
        match mem::replace(&mut one.outcome, outcome) {
            Outcome::Reserved(row) => Some(row),
            _ => None,
        }
    }

    /// Adds what another part of the call reached.
    pub fn add(&mut self, mut other: Self) {
        self.outcomes.append(&mut other.outcomes);
    }

    /// One element for each device of the targets, ordered by user and device within each part of a call.
    #[must_use]
    pub fn outcomes(&self) -> &[DeviceOutcome] {
        &self.outcomes
    }

    /// Takes out the devices that have to be asked for again: those of which nothing is known yet, and those of which the
    /// hold, or the package's lifetime, has ended by now.
    pub fn take_open(&mut self, now: Timestamp) -> Vec<Target> {
        let is_open = |one: &mut DeviceOutcome| one.device.is_some() && one.is_open(now);
        self.outcomes.extract_if(.., is_open).map(target).collect()
    }

    /// Takes out the devices that were not asked for yet.
    pub fn take_deferred(&mut self) -> Vec<Target> {
        let is_deferred = |one: &mut DeviceOutcome| matches!(one.outcome, Outcome::Deferred);
        self.outcomes.extract_if(.., is_deferred).map(target).collect()
    }

    /// Notes that devices stayed contended.
    pub fn add_contended(&mut self, targets: Vec<Target>) {
        self.add_all(targets, || Outcome::Contended);
    }

    /// Notes that a limit keeps devices from being asked for.
    pub fn add_limited(&mut self, targets: Vec<Target>, limited: Limited) {
        self.add_all(targets, || Outcome::Limited(limited));
    }

    fn add_all(&mut self, targets: Vec<Target>, outcome: impl Fn() -> Outcome) {
        self.outcomes.extend(targets.into_iter().map(|target| DeviceOutcome {
            user: target.user,
            device: target.device,
            outcome: outcome(),
            charge: None,
        }));
    }

    /// Takes what was reached: it is the caller's from now on, and its holder is charged for it.
    #[must_use]
    pub fn claim(mut self) -> Vec<DeviceOutcome> {
        let mut outcomes = mem::take(&mut self.outcomes);
        for one in &mut outcomes {
            if let (Some(charge), Outcome::Reserved(row)) = (one.charge.take(), &one.outcome) {
                charge.handed_out(row.last_resort);
            }
        }
        outcomes
    }

    /// Gives back what is held, but for what somebody has asked for again since. Goes on if the caller leaves.
    ///
    /// # Errors
    /// If the database fails: the holds are given back as soon as it can be, or end with their time.
    pub async fn give_back(mut self) -> Result<(), LaneError> {
        let holds = self.holds(|_| true);
        self.outcomes.clear();
        holds.give_back().await
    }

    fn holds(&self, which: impl Fn(&ReservedRow) -> bool) -> NewHolds {
        let mut holds = NewHolds::none(self.hold.clone());
        for one in &self.outcomes {
            if let (Outcome::Reserved(row), Some(device)) = (&one.outcome, &one.device)
                && !row.spent
                && which(row)
            {
                let device = DeviceKey::new(one.user.clone(), device.clone());
                let ReserveCall { reservation, holder, principal, .. } = &*self.call;
                holds.push(&device, reservation, holder, principal, row);
            }
        }
        holds
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        // Last-resort packages are shared: a hold on one keeps nobody waiting.
        drop(self.holds(|row| row.asked_at.is_some() && !row.found));
    }
}

/// The target that asks for a device by itself.
fn target(one: DeviceOutcome) -> Target {
    Target { user: one.user, device: one.device, excluded: Vec::new() }
}
