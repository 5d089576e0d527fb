//! A package that was handed out.

use std::time::SystemTime;

use keypool_proto::v1::{KeyPackageName, ReservedKeyPackage};
use prost_types::Timestamp;

use crate::{Error, Result};

/// A KeyPackage that a reservation holds, or has spent.
///
/// It is what the service says: before its use, verify the package's signatures and credential.
#[cfg_attr(feature = "openmls", doc = "[`Inviter`](crate::Inviter) does so.")]
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ReservedPackage {
    /// The user, the device and the KeyPackageRef (RFC 9420, section 5.2).
    pub name: KeyPackageName,
    /// The TLS-encoded KeyPackage (RFC 9420, section 10), not wrapped in an MLSMessage. Empty if the package
    /// was spent an hour ago (unless the service is configured otherwise), or was revoked before it was
    /// spent: the service does not store its bytes any more. To invite the device, reserve under another id.
    pub bytes: Vec<u8>,
    /// The cipher suite, by its number in IANA's registry.
    pub cipher_suite: u16,
    /// When the package's lifetime ends.
    pub not_after: SystemTime,
    /// When the hold ends. `None` if the package is spent.
    pub hold_expires: Option<SystemTime>,
    /// True for a last-resort package: others may hold and use it at the same time.
    pub last_resort: bool,
    /// True if this reservation has spent the package.
    pub spent: bool,
}

impl TryFrom<ReservedKeyPackage> for ReservedPackage {
    type Error = Error;

    fn try_from(package: ReservedKeyPackage) -> Result<Self> {
        let missing = |what| Error::protocol(format!("a reserved package without {what}"));
        let cipher_suite = u16::try_from(package.cipher_suite);
        Ok(Self {
            name: package.name.ok_or_else(|| missing("a name"))?,
            bytes: package.key_package,
            cipher_suite: cipher_suite.map_err(|_| missing("a valid cipher suite"))?,
            not_after: to_time(package.not_after_time)?
                .ok_or_else(|| missing("the end of its lifetime"))?,
            hold_expires: to_time(package.hold_expire_time)?,
            last_resort: package.last_resort,
            spent: package.spent,
        })
    }
}

pub(crate) fn to_time(time: Option<Timestamp>) -> Result<Option<SystemTime>> {
    time.map(SystemTime::try_from).transpose().map_err(|_| Error::protocol("a time out of range"))
}
