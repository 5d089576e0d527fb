//! The whole invite: reserve, verify, commit, spend, publish, merge.

mod devices;
mod error;
mod fault;
mod flow;
mod invite;
mod journal;
mod publish;
mod reserve;
#[cfg(feature = "sqlite")]
mod sqlite_journal;
mod syntax;
mod verify;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use keypool_proto::v1::ReserveKeyPackagesRequest;
use openmls::prelude::MlsGroup;
use openmls::storage::OpenMlsProvider;
use openmls_traits::signatures::Signer;

use self::flow::Flow;
use self::journal::Journal;
use super::CredentialVerifier;
use crate::{Client, Target};

pub use error::{InviteError, RejectedPackage};
pub use fault::PackageFault;
pub use invite::{Invite, Invited, Recovered};
pub use journal::{InviteJournal, InviteRecord, InviteStage, MemoryJournal};
pub use publish::PublishError;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite_journal::SqliteInviteJournal;

/// The longest lifetime that the service accepts, unless configured otherwise.
const MAX_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Adds members to MLS groups with packages of the pool.
///
/// See the [crate's documentation](crate#inviting) for an example.
#[derive(Clone)]
pub struct Inviter<V> {
    client: Client,
    verifier: V,
    journal: Journal,
    own_device: Option<(String, String)>,
    ttl: Option<Duration>,
    min_remaining_lifetime: Option<Duration>,
    max_lifetime: Duration,
    require_all: bool,
}

impl<V: fmt::Debug> fmt::Debug for Inviter<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inviter")
            .field("client", &self.client)
            .field("verifier", &self.verifier)
            .field("own_device", &self.own_device)
            .finish_non_exhaustive()
    }
}

impl<V: CredentialVerifier> Inviter<V> {
    /// An inviter that trusts the credentials that `verifier` approves.
    pub fn new(client: Client, verifier: V) -> Self {
        Self {
            client,
            verifier,
            journal: Journal::new(Arc::new(MemoryJournal::default())),
            own_device: None,
            ttl: None,
            min_remaining_lifetime: None,
            max_lifetime: MAX_LIFETIME,
            require_all: false,
        }
    }

    /// Where invites under way are kept, so that [`recover`](Self::recover) can finish or undo them
    /// after a crash. Unless set, they are forgotten with the inviter and its clones.
    #[must_use]
    pub fn journal(mut self, journal: Arc<dyn InviteJournal>) -> Self {
        self.journal = Journal::new(journal);
        self
    }

    /// The inviting device, which is never among the targets: so a user can be invited to its own
    /// groups, with all its other devices.
    #[must_use]
    pub fn own_device(mut self, user_id: impl Into<String>, device_id: impl Into<String>) -> Self {
        self.own_device = Some((user_id.into(), device_id.into()));
        self
    }

    /// How long packages are held; holds are extended until the packages are spent. See
    /// [`ReserveBuilder::ttl`](crate::ReserveBuilder::ttl).
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long packages must stay valid. See
    /// [`ReserveBuilder::min_remaining_lifetime`](crate::ReserveBuilder::min_remaining_lifetime).
    #[must_use]
    pub fn min_remaining_lifetime(mut self, lifetime: Duration) -> Self {
        self.min_remaining_lifetime = Some(lifetime);
        self
    }

    /// The longest total lifetime of a package (RFC 9420, section 7.2). 90 days unless set.
    #[must_use]
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = lifetime;
        self
    }

    /// Adds all the targets' devices, or nobody.
    #[must_use]
    pub fn require_all(mut self) -> Self {
        self.require_all = true;
        self
    }

    /// Adds the targets' devices to the group: reserves a package for each, verifies it, commits,
    /// spends, publishes by `publish`, and merges the commit.
    ///
    /// Devices without a package don't keep the others out: [`Invited::missing`] names them. A
    /// package that fails verification is given back. If it is broken for everybody, it is
    /// [reported](PackageFault) as unusable, and another one reserved in its place. The commit takes the group's pending proposals along, as
    /// `MlsGroup::add_members` does.
    ///
    /// `publish` is called once all packages are spent, so nobody else can use them. It must send
    /// the commit to the group and the Welcome to the new members, and fail unless the delivery
    /// service has accepted the commit for this epoch; [`PublishError`] says what then. It is called
    /// again with the same messages until it is clear what became of them, so a delivery service
    /// that has this very commit already must accept it again.
    ///
    /// `provider` is anything that points to one. By `&mut provider` (or a `Box`), the future is `Send`
    /// even where threads can't share the provider, as with `openmls_sqlite_storage`.
    ///
    /// A future that is dropped before it is ready leaves what a crash would:
    /// [`recover`](Self::recover) takes it from there.
    ///
    /// # Errors
    ///
    /// [`InviteError`], whose variants say what to do about the group.
    pub async fn invite<P, F>(
        &self,
        group: &mut MlsGroup,
        provider: P,
        signer: &impl Signer,
        targets: impl IntoIterator<Item = Target>,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Invited, InviteError>
    where
        P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
        F: Future<Output = Result<(), PublishError>>,
    {
        let record = InviteRecord::new(self.request(group, targets), group);
        Flow { inviter: self, group, provider, signer }.begin(record, publish).await
    }

    /// Finishes or undoes the invite to this group that was under way when its process ended, or
    /// that [`invite`](Self::invite) left unfinished. Call it for each group that was loaded from
    /// storage, before anything else is done with the group.
    ///
    /// Before anything was spent, the invite is undone. After that it is finished: spent, published
    /// and merged with the same commit as before; or, where that was refused or another commit has
    /// been merged since, with a new commit from the same packages.
    ///
    /// After an error it may be called again.
    ///
    /// # Errors
    ///
    /// [`InviteError`], whose variants say what to do about the group.
    pub async fn recover<P, F>(
        &self,
        group: &mut MlsGroup,
        provider: P,
        signer: &impl Signer,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Recovered, InviteError>
    where
        P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
        F: Future<Output = Result<(), PublishError>>,
    {
        Flow { inviter: self, group, provider, signer }.recover(publish).await
    }

    fn request(
        &self,
        group: &MlsGroup,
        targets: impl IntoIterator<Item = Target>,
    ) -> ReserveKeyPackagesRequest {
        let without_own = |target: Target| match &self.own_device {
            Some((user_id, device_id)) => target.without(user_id, device_id),
            None => Some(target),
        };
        let mut reserve = self
            .client
            .reserve(group.group_id().as_slice())
            .cipher_suite(group.ciphersuite().into())
            .targets(targets.into_iter().filter_map(without_own));
        if let Some(ttl) = self.ttl {
            reserve = reserve.ttl(ttl);
        }
        if let Some(lifetime) = self.min_remaining_lifetime {
            reserve = reserve.min_remaining_lifetime(lifetime);
        }
        if self.require_all { reserve.require_all() } else { reserve }.into_request()
    }
}
