//! What a reserve reaches for each device.

use super::budget::Charge;
use crate::{
    limits::Limited,
    store::{Missing, ReservedRow},
    types::{DeviceId, UserId},
};
use jiff::Timestamp;

/// What a reserve reached for a device.
#[derive(Debug)]
pub struct DeviceOutcome {
    /// The user.
    pub user: UserId,
    /// The device; none if it is about a user without any.
    pub device: Option<DeviceId>,
    /// What the reservation has.
    pub outcome: Outcome,
    /// What its holder is charged for it, unless the outcome is given back.
    pub(super) charge: Option<Charge>,
}

/// What a reservation has of a device, or why nothing.
#[derive(Debug)]
pub enum Outcome {
    /// A package.
    Reserved(ReservedRow),
    /// Nothing could be taken.
    Missing(Missing),
    /// There is a package, but another transaction has locked it: nothing is known yet.
    Contended,
    /// It is one of many devices of a user, and was not asked for yet.
    Deferred,
    /// A limit of the holder's was hit.
    Limited(Limited),
    /// The reservation holds a package of a cipher suite that is not acceptable now.
    OtherSuite,
    /// The reservation was made for another group.
    OtherGroup,
}

impl DeviceOutcome {
    /// Whether it has to be asked for again at this time: nothing is known yet, or what was reached is over.
    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        match &self.outcome {
            Outcome::Contended => true,
            Outcome::Reserved(row) => {
                !row.spent && (row.not_after <= now || row.held_until.is_some_and(|end| end <= now))
            }
            _ => false,
        }
    }
}
