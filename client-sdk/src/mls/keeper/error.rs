//! Why a refresh failed.

use super::super::BoxError;
use crate::Error;

/// Why a refresh failed. It is safe to try again after any of them: what was begun is finished by
/// the next refresh that succeeds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The pool's status can't be had.
    #[error("the pool's status can't be had: {0}")]
    Status(#[source] Error),

    /// The pool can't be compared with the private keys that the device has.
    #[error("the pool can't be reconciled: {0}")]
    Reconcile(#[source] Error),

    /// An upload failed. The private keys of its packages are kept, because the service may have
    /// them; the next refresh uploads the same packages again.
    #[error("the upload failed: {0}")]
    Upload(#[source] Error),

    /// Packages of a former credential can't be revoked.
    #[error("packages can't be revoked: {0}")]
    Revoke(#[source] Error),

    /// OpenMLS can't generate a package: the signer's scheme is not that of the cipher suite, or the
    /// provider lacks the cipher suite.
    #[error("a package can't be generated")]
    Generate(#[source] BoxError),

    /// The OpenMLS storage, which keeps the private keys, failed.
    #[error("the OpenMLS storage failed")]
    Storage(#[source] BoxError),

    /// The [`PoolStore`](crate::mls::PoolStore) failed.
    #[error("the record of the pool failed")]
    Store(#[source] BoxError),
}

impl RefreshError {
    /// The failed call's error, if it was a call.
    pub(super) fn call(&self) -> Option<&Error> {
        match self {
            Self::Status(error)
            | Self::Reconcile(error)
            | Self::Upload(error)
            | Self::Revoke(error) => Some(error),
            Self::Generate(_) | Self::Storage(_) | Self::Store(_) => None,
        }
    }
}
