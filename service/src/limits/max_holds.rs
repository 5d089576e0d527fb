use crate::types::{Holder, UserId};

/// How many live holds one holder may have on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxHolds {
    /// On a device of another user.
    pub of_others: u32,
    /// On a device of its own user.
    pub of_own_devices: u32,
}

impl MaxHolds {
    /// How many a holder may have on a device of this user.
    #[must_use]
    pub fn of(self, holder: &Holder, user: &UserId) -> u32 {
        if holder.is(user) { self.of_own_devices } else { self.of_others }
    }
}
