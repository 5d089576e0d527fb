//! Why an invite failed.

use keypool_proto::v1::KeyPackageName;

use super::{BoxError, Invite, PackageFault};
use crate::{Error, Missing};

/// Why an invite failed, and what state the group is in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The group has a pending commit, which must be merged or cleared first; or this device was
    /// removed from it. Nothing was reserved.
    #[error("the group has a pending commit, or is inactive")]
    GroupNotReady,

    /// No packages could be reserved. The group is as it was.
    #[error(transparent)]
    Reserve(Error),

    /// Nobody is left to add; or, where all targets were required, somebody is missing. What was
    /// reserved is released. The group is as it was.
    #[error("{} targets without a package, {} unusable packages", missing.len(), unusable.len())]
    Incomplete {
        /// The users and devices for which there was no package.
        missing: Vec<Missing>,
        /// The packages that failed verification.
        unusable: Vec<RejectedPackage>,
    },

    /// OpenMLS did not make the commit. What was reserved is released. The group is as it was.
    #[error("the commit could not be made")]
    Commit(#[source] BoxError),

    /// The packages could not be spent, so the Welcome must not go out: the pending commit is
    /// cleared, and what was reserved is released as far as possible. The group is as it was;
    /// invite again. [`Error::outcomes`] tells which packages were lost.
    #[error("the packages could not be spent: {source}")]
    Spend {
        /// Why.
        source: Error,
    },

    /// The packages are spent, and publishing the commit and Welcome failed. The commit is still
    /// pending in the group, because the delivery service may have got it. Publish
    /// [`Invite`] again, then call `group.merge_pending_commit`; or, once it is clear that the commit
    /// was refused (another one won the epoch), call `group.clear_pending_commit` and invite again.
    #[error("the commit and Welcome could not be published")]
    Publish {
        /// What was to be published.
        invite: Box<Invite>,
        /// Why it was not.
        source: BoxError,
    },

    /// The commit is published and OpenMLS could not merge it. Call `group.merge_pending_commit`
    /// again, or load the group from its storage.
    #[error("the published commit could not be merged")]
    Merge(#[source] BoxError),

    /// OpenMLS' storage could not clear the pending commit after a refused spend. The Welcome must
    /// not go out: call `group.clear_pending_commit` again.
    #[error("the pending commit could not be cleared")]
    Clear(#[source] BoxError),
}

/// A package that failed verification.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RejectedPackage {
    /// The package, as the service named it.
    pub name: KeyPackageName,
    /// What is wrong with it.
    pub fault: PackageFault,
}
