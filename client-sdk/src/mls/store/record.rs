//! The record of one package.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use keypool_proto::v1::RejectionReason;

/// What a device knows of one of its packages. No keys, and not the package.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolRecord {
    /// Its KeyPackageRef (RFC 9420, section 5.2), by which OpenMLS finds its private keys.
    pub key_package_ref: Vec<u8>,
    /// The number of its cipher suite (RFC 9420, section 17.1).
    pub cipher_suite: u16,
    /// Whether it is marked as last resort.
    pub last_resort: bool,
    /// What it was made under: the SHA-256 hash of the TLS-encoded credential, followed by the
    /// signature key.
    pub credential_hash: Vec<u8>,
    /// Where it is in its life.
    pub state: PackageState,
    /// Why the service did not take it. Of a [`Created`](PackageState::Created) package: it waits
    /// for room in the pool.
    pub rejection: Option<RejectionReason>,
    /// When it was generated.
    pub created_at: SystemTime,
    /// When the service confirmed first that it has it.
    pub uploaded_at: Option<SystemTime>,
    /// When its state changed last.
    pub changed_at: SystemTime,
    /// When its lifetime ends.
    pub not_after: SystemTime,
}

impl PoolRecord {
    /// The record of a package that was just generated.
    #[must_use]
    pub fn new(
        key_package_ref: Vec<u8>,
        cipher_suite: u16,
        last_resort: bool,
        credential_hash: Vec<u8>,
        created_at: SystemTime,
        not_after: SystemTime,
    ) -> Self {
        Self {
            key_package_ref,
            cipher_suite,
            last_resort,
            credential_hash,
            state: PackageState::Created,
            rejection: None,
            created_at,
            uploaded_at: None,
            changed_at: created_at,
            not_after,
        }
    }
}

/// Where a package is in its life, as far as its device knows. [`PoolKeeper`] says what happens to
/// the private keys in each state.
///
/// [`PoolKeeper`]: crate::mls::PoolKeeper#private-keys
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PackageState {
    /// Generated. Whether the service has it is not known yet, or it waits for room in the pool.
    Created,
    /// The service has accepted it.
    Uploaded,
    /// The service could hand it out when it was last asked.
    Available,
    /// An invite under way held it when the service was last asked.
    Reserved,
    /// It is used up: spent, or its Welcome has been joined.
    Spent,
    /// Its lifetime ended before it was spent.
    Expired,
    /// Out of circulation: revoked, or a last resort that a newer one has replaced.
    Revoked,
    /// The service rejected it.
    Failed,
    /// It is not the device's: it was in the device's pool, and another install has made it, or the device
    /// itself before it was restored from a backup. Remembered for three days.
    Foreign,
}

impl PackageState {
    /// Every state, in the order of a package's life.
    pub const ALL: [Self; 9] = [
        Self::Created,
        Self::Uploaded,
        Self::Available,
        Self::Reserved,
        Self::Spent,
        Self::Expired,
        Self::Revoked,
        Self::Failed,
        Self::Foreign,
    ];

    /// Its name in lower case, which stays the same in later versions. [`FromStr`] reads it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Uploaded => "uploaded",
            Self::Available => "available",
            Self::Reserved => "reserved",
            Self::Spent => "spent",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Failed => "failed",
            Self::Foreign => "foreign",
        }
    }

    /// Whether the service may still hand the package out.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Created) || self.is_pooled()
    }

    /// Whether the service has it, unspent.
    pub(in crate::mls) fn is_pooled(self) -> bool {
        matches!(self, Self::Uploaded | Self::Available | Self::Reserved)
    }
}

impl fmt::Display for PackageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PackageState {
    type Err = UnknownPackageState;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let state = Self::ALL.into_iter().find(|state| state.as_str() == name);
        state.ok_or_else(|| UnknownPackageState(name.to_owned()))
    }
}

/// A name that is not that of a [`PackageState`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no state of a package is called {0:?}")]
pub struct UnknownPackageState(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for state in PackageState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert!("gone".parse::<PackageState>().is_err());
    }
}
