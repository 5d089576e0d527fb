//! What a refresh did.

use keypool_proto::v1::{DevicePoolStatus, RejectionReason};

/// What a refresh did.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Refreshed {
    /// The KeyPackageRefs of the packages that it brought into the pool, last resort included, or that
    /// were there already after an upload whose answer was lost.
    pub uploaded: Vec<Vec<u8>>,
    /// The packages that the service rejected. One for which the pool had no room
    /// ([`RejectionReason::PoolFull`]) is kept for when there is.
    pub rejected: Vec<RejectedUpload>,
    /// The KeyPackageRefs of the packages that it took out of the pool: those whose private keys
    /// are gone, and those of a former credential.
    pub revoked: Vec<Vec<u8>>,
    /// The KeyPackageRefs of the packages whose private keys it deleted.
    pub deleted: Vec<Vec<u8>>,
    /// The pool after the refresh. `None` if it is unknown and there was nothing to upload.
    pub status: Option<DevicePoolStatus>,
}

/// A package that the service rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedUpload {
    /// Its KeyPackageRef.
    pub key_package_ref: Vec<u8>,
    /// Why. [`RejectionReason::Unspecified`] if this version doesn't know the reason.
    pub reason: RejectionReason,
    /// The reason in words, for a log or a developer.
    pub message: String,
}
