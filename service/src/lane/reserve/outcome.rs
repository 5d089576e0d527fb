//! What a reserve reaches for each device.

use crate::{
    store::{Missing, ReservedRow},
    types::{DeviceId, UserId},
};

/// What a reserve reached for a device.
#[derive(Debug, Clone)]
pub struct DeviceOutcome {
    /// The user.
    pub user: UserId,
    /// The device; none if it is about a user without any.
    pub device: Option<DeviceId>,
    /// What the reservation has.
    pub outcome: Outcome,
}

/// What a reservation has of a device, or why nothing.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A package.
    Reserved(ReservedRow),
    /// Nothing could be taken.
    Missing(Missing),
    /// The holder has as many live holds on the device as it may.
    Limited,
    /// The reservation holds a package of a cipher suite that is not acceptable now.
    OtherSuite,
    /// The reservation was made for another group.
    OtherGroup,
    /// The reservation is another holder's.
    OtherHolder,
}
