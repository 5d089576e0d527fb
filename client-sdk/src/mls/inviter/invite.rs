//! What an invite sends, and what it did.

use keypool_proto::v1::KeyPackageName;
use openmls::prelude::{KeyPackage, MlsGroup, MlsMessageOut};
use openmls::storage::OpenMlsProvider;
use openmls_traits::signatures::Signer;
use serde::{Deserialize, Serialize};
use std::fmt;
use tls_codec::Serialize as _;

use super::RejectedPackage;
use crate::Missing;
use crate::mls::BoxError;

/// What must reach the group and its new members: each message is a TLS-encoded MLSMessage (RFC 9420,
/// section 6), as it is sent over a network.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Invite {
    /// The commit, for the members.
    pub commit: Vec<u8>,
    /// The Welcome, for the new members.
    pub welcome: Vec<u8>,
    /// The GroupInfo, if the group is configured to make one.
    pub group_info: Option<Vec<u8>>,
    /// The packages that the Welcome is for: each names a user and device.
    pub added: Vec<KeyPackageName>,
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = |message: &[u8]| format!("{} bytes", message.len());
        f.debug_struct("Invite")
            .field("commit", &bytes(&self.commit))
            .field("welcome", &bytes(&self.welcome))
            .field("group_info", &self.group_info.as_deref().map(bytes))
            .field("added", &self.added)
            .finish()
    }
}

impl Invite {
    /// Commits to add these packages. The commit is then pending in the group.
    pub(super) fn commit<P>(
        group: &mut MlsGroup,
        provider: &P,
        signer: &impl Signer,
        packages: Vec<(KeyPackageName, KeyPackage)>,
    ) -> Result<Self, BoxError>
    where
        P: OpenMlsProvider,
        P::StorageError: Send + Sync + 'static,
    {
        let (added, key_packages) = packages.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        let bundle = group
            .commit_builder()
            .propose_adds(key_packages)
            .force_self_update(true)
            .load_psks(provider.storage())?
            .build(provider.rand(), provider.crypto(), signer, |_| true)?
            .stage_commit(provider)?;
        let welcome = bundle.to_welcome_msg().ok_or("a commit with new members and no Welcome")?;
        let (commit, _, group_info) = bundle.into_contents();
        let group_info = group_info.map(|info| MlsMessageOut::from(info).tls_serialize_detached());
        Ok(Self {
            commit: commit.tls_serialize_detached()?,
            welcome: welcome.tls_serialize_detached()?,
            group_info: group_info.transpose()?,
            added,
        })
    }

    /// Whether the group's pending commit adds just these packages.
    pub(super) fn is_pending_in(&self, group: &MlsGroup, provider: &impl OpenMlsProvider) -> bool {
        let Some(pending) = group.pending_commit() else {
            return false;
        };
        let pending = pending.add_proposals().map(|add| {
            let key_package = add.add_proposal().key_package();
            key_package.hash_ref(provider.crypto()).map(|hash_ref| hash_ref.as_slice().to_vec())
        });
        let Ok(mut pending) = pending.collect::<Result<Vec<_>, _>>() else {
            return false;
        };
        let mut added: Vec<_> = self.added.iter().map(|name| &name.key_package_ref).collect();
        pending.sort_unstable();
        added.sort_unstable();
        pending.iter().eq(added)
    }
}

/// What an invite did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Invited {
    /// The new members: user, device, and the package each was added with.
    pub added: Vec<KeyPackageName>,
    /// The users and devices for which there was no package, and why: "bob's tablet has no
    /// KeyPackage left".
    pub missing: Vec<Missing>,
    /// The packages that failed verification. Those whose device is not in [`added`](Self::added)
    /// could not be replaced.
    pub unusable: Vec<RejectedPackage>,
}

/// What [`Inviter::recover`](super::Inviter::recover) found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// No invite to this group was under way.
    Nothing,

    /// An invite had not come as far as spending: its commit is cleared, what it held is given back,
    /// and the group is as it was before. Invite again.
    Undone,

    /// The invite is finished: published and merged.
    Finished {
        /// The new members: user, device, and the package each was added with.
        added: Vec<KeyPackageName>,
    },
}
