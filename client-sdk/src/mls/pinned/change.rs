//! What can change about the devices of a user.

use std::fmt;

use super::store::{PinnedIdentity, PinnedUser};
use crate::mls::BoxError;

/// How an answer of the service differs from what is remembered about a user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceChange {
    /// The user has a device that is not known: a new one, or one that the service made up.
    Added {
        /// The user.
        user_id: String,
        /// The device.
        device_id: String,
        /// Its credential and signature key, if the answer has a package of it.
        identity: Option<PinnedIdentity>,
    },

    /// The service does not list a known device: it was removed, or the service leaves it out.
    Gone {
        /// The user.
        user_id: String,
        /// The device.
        device_id: String,
    },

    /// A known device has another credential or signature key: it was set up anew, its credential was
    /// rotated, or the package is not its own.
    Identity {
        /// The user.
        user_id: String,
        /// The device.
        device_id: String,
        /// What is remembered.
        before: PinnedIdentity,
        /// What its package has.
        now: PinnedIdentity,
    },
}

impl DeviceChange {
    /// The user.
    #[must_use]
    pub fn user_id(&self) -> &str {
        let (Self::Added { user_id, .. }
        | Self::Gone { user_id, .. }
        | Self::Identity { user_id, .. }) = self;
        user_id
    }

    /// The device.
    #[must_use]
    pub fn device_id(&self) -> &str {
        let (Self::Added { device_id, .. }
        | Self::Gone { device_id, .. }
        | Self::Identity { device_id, .. }) = self;
        device_id
    }

    pub(super) fn apply(&self, user: &mut PinnedUser) {
        let device_id = self.device_id().to_owned();
        match self {
            Self::Added { identity, .. } => user.devices.insert(device_id, identity.clone()),
            Self::Gone { .. } => user.devices.remove(&device_id),
            Self::Identity { now, .. } => user.devices.insert(device_id, Some(now.clone())),
        };
    }
}

impl fmt::Display for DeviceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Added { .. } => "is new",
            Self::Gone { .. } => "is gone",
            Self::Identity { before, now, .. } if before.signature_key == now.signature_key => {
                "has another credential"
            }
            Self::Identity { .. } => "has another signature key",
        };
        write!(f, "the device `{}` of the user `{}` {what}", self.device_id(), self.user_id())
    }
}

/// What to do about a [`DeviceChange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is right: remember it, and go on.
    Accept,
    /// It is not, or not yet: add nobody, and remember nothing.
    Refuse,
}

/// Why nobody may be added by an answer of the service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UntrustedDevices {
    /// The devices of a user are not those that are remembered, and the changes are not accepted.
    #[error("refused: {}", listed(.0))]
    Changed(Vec<DeviceChange>),

    /// What is remembered can't be read or written.
    #[error("the remembered devices can't be read or written: {0}")]
    Store(#[source] BoxError),
}

fn listed(changes: &[DeviceChange]) -> String {
    changes.iter().map(DeviceChange::to_string).collect::<Vec<_>>().join("; ")
}
