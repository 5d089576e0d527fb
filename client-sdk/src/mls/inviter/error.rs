//! Why an invite failed.

use keypool_proto::v1::KeyPackageName;

use super::{Invite, PackageFault};
use crate::mls::{BoxError, UntrustedDevices};
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

    /// The [`CredentialVerifier`](crate::mls::CredentialVerifier) does not trust the devices that the
    /// service lists, as when [`PinnedDevices`](crate::mls::PinnedDevices) has noticed a change. Nobody
    /// was added, and what was reserved is released. The group is as it was.
    #[error(transparent)]
    Devices(UntrustedDevices),

    /// An earlier invite to this group was left unfinished. Nothing was done: call
    /// [`Inviter::recover`](super::Inviter::recover) first.
    #[error("an earlier invite to this group is unfinished")]
    Unfinished,

    /// The [`InviteJournal`](super::InviteJournal) can't be read or written. The group is as it was,
    /// and nothing was spent.
    #[error("the journal of invites failed: {0}")]
    Journal(#[source] BoxError),

    /// OpenMLS did not make the commit. What was reserved is released. The group is as it was.
    #[error("the commit could not be made: {0}")]
    Commit(#[source] BoxError),

    /// The packages could not be spent, or it is not known whether they were, so the Welcome must not
    /// go out: the pending commit is cleared, and what was reserved is released as far as possible.
    /// The group is as it was. [`Error::outcomes`] tells which packages were lost. Invite again; if
    /// that is [`Unfinished`](Self::Unfinished), some are spent, and
    /// [`Inviter::recover`](super::Inviter::recover) adds their devices.
    #[error("the packages could not be spent: {source}")]
    Spend {
        /// Why.
        source: Error,
    },

    /// The delivery service refused the commit. It is cleared, and the group is as it was. The
    /// packages are spent, and good for another commit to this group: merge the commit that won,
    /// then call [`Inviter::recover`](super::Inviter::recover).
    #[error("the commit was refused: {0}")]
    Refused(#[source] BoxError),

    /// The packages are spent, and the commit and Welcome are to be
    /// [published later](super::PublishError::Later). The commit is pending in the group, because the
    /// delivery service may have got it. [`Inviter::recover`](super::Inviter::recover) publishes it
    /// again.
    #[error("the commit and Welcome are not published yet: {source}")]
    Publish {
        /// What is to be published.
        invite: Box<Invite>,
        /// Why it was not.
        source: BoxError,
    },

    /// The commit is published and OpenMLS could not merge it. Load the group from its storage, and
    /// call [`Inviter::recover`](super::Inviter::recover).
    #[error("the published commit could not be merged: {0}")]
    Merge(#[source] BoxError),

    /// OpenMLS' storage could not clear the pending commit, whose Welcome must not go out. Call
    /// [`Inviter::recover`](super::Inviter::recover).
    #[error("the pending commit could not be cleared: {0}")]
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
