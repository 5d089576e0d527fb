use crate::types::{CipherSuite, DeviceId, KeyPackageRef, UserId};
use jiff::Timestamp;

/// A device and its user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
}

impl Owner {
    /// The device of a user.
    ///
    /// # Panics
    /// If these are no ids.
    #[must_use]
    pub fn new(user: &str, device: &str) -> Self {
        Self { user: UserId::new(user).unwrap(), device: DeviceId::new(device).unwrap() }
    }
}

/// A package, and what is to be known of it. That it is valid is not the model's to judge.
#[derive(Debug)]
pub struct Facts {
    /// The device that it is of, by its credential.
    pub owner: Owner,
    /// Its ref.
    pub reference: KeyPackageRef,
    /// Its cipher suite.
    pub suite: CipherSuite,
    /// Whether it is a last-resort package.
    pub last_resort: bool,
    /// When its lifetime ends.
    pub not_after: Timestamp,
    /// Its TLS-encoded credential.
    pub credential: Vec<u8>,
    /// Its signature key.
    pub signature_key: Vec<u8>,
    /// The package itself.
    pub bytes: Vec<u8>,
}

/// What happens by itself.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// A hold ends.
    HoldEnd,
    /// The grace ends of a package that was revoked while it was held.
    GraceEnd,
    /// A package's lifetime ends.
    Expiry,
    /// An expired package may be purged.
    Oblivion,
    /// Any of these, or one of those that only change counts.
    Any,
}
