//! The whole invite: reserve, verify, commit, spend, publish, merge.

mod error;
mod fault;
mod invite;
mod journal;
mod publish;
#[cfg(feature = "sqlite")]
mod sqlite_journal;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use keypool_proto::v1::{KeyPackageName, ReserveKeyPackagesRequest};
use openmls::prelude::{KeyPackage, MlsGroup, OpenMlsCrypto};
use openmls::storage::OpenMlsProvider;
use openmls_traits::signatures::Signer;
use tokio::time::sleep;

use self::verify::{Needs, Verification};
use super::CredentialVerifier;
use crate::{Client, KeepAlive, Missing, Reservation, Target};

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

/// How often packages are reserved in place of unusable ones.
const REPLACEMENTS: usize = 3;

/// How long to wait before publishing again: at first, and at most.
const PUBLISH_DELAYS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(30)];

/// Adds members to MLS groups with packages of the pool.
///
/// See the [crate's documentation](crate#inviting) for an example.
#[derive(Clone)]
pub struct Inviter<V> {
    client: Client,
    verifier: V,
    journal: Arc<dyn InviteJournal>,
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
            journal: Arc::new(MemoryJournal::default()),
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
        self.journal = journal;
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
    /// package that fails verification is given back, as unusable where it is so for everybody, and
    /// another one reserved in its place. The commit takes the group's pending proposals along, as
    /// `MlsGroup::add_members` does.
    ///
    /// `publish` is called once all packages are spent, so nobody else can use them. It must send
    /// the commit to the group and the Welcome to the new members, and fail unless the delivery
    /// service has accepted the commit for this epoch; [`PublishError`] says what then. It is called
    /// again with the same messages until it is clear what became of them, so a delivery service
    /// that has this very commit already must accept it again.
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
        provider: &P,
        signer: &impl Signer,
        targets: impl IntoIterator<Item = Target>,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Invited, InviteError>
    where
        P: OpenMlsProvider,
        P::StorageError: Send + Sync + 'static,
        F: Future<Output = Result<(), PublishError>>,
    {
        if self.load(group)?.is_some() {
            return Err(InviteError::Unfinished);
        }
        let record = InviteRecord::new(self.request(group, targets), group);
        self.run(group, provider, signer, record, publish).await
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
        provider: &P,
        signer: &impl Signer,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Recovered, InviteError>
    where
        P: OpenMlsProvider,
        P::StorageError: Send + Sync + 'static,
        F: Future<Output = Result<(), PublishError>>,
    {
        let Some(record) = self.load(group)? else {
            return Ok(Recovered::Nothing);
        };
        let is_pending = |invite: &Invite| invite.is_pending_in(group, provider);
        match record.stage.clone() {
            InviteStage::Reserving { spent: false, held } => {
                self.undo(group, provider, &record, held).await?;
                Ok(Recovered::Undone)
            }
            InviteStage::Spending(invite) if is_pending(&invite) => {
                let reservation = self.reservation_of(&record);
                match self.spend(group, provider, record, reservation, invite).await {
                    Ok(spent) => self.finish(group, provider, spent, publish).await,
                    // Lost meanwhile, and nothing of it was spent.
                    Err(InviteError::Spend { .. }) if self.load(group)?.is_none() => {
                        Ok(Recovered::Undone)
                    }
                    Err(error) => Err(error),
                }
            }
            InviteStage::Publishing(invite) if is_pending(&invite) => {
                self.finish(group, provider, Spent { record, invite }, publish).await
            }
            InviteStage::Published(invite) => {
                if is_pending(&invite) {
                    merge(group, provider)?;
                }
                self.forget(&record);
                Ok(Recovered::Finished { added: invite.added })
            }
            // The commit is gone, and its packages are spent for this reservation, or may be.
            _ => self.invite_again(group, provider, signer, record, publish).await,
        }
    }

    /// Clears a commit that nobody has seen, and gives back what was held for it.
    async fn undo<P>(
        &self,
        group: &mut MlsGroup,
        provider: &P,
        record: &InviteRecord,
        held: Vec<KeyPackageName>,
    ) -> Result<(), InviteError>
    where
        P: OpenMlsProvider,
        P::StorageError: Send + Sync + 'static,
    {
        if record.epoch == group.epoch().as_u64() {
            clear(group, provider)?;
        }
        let reservation = self.reservation_of(record);
        if let Err(error) = reservation.release_packages(held).await {
            tracing::debug!(%error, "a reservation was not released; it will lapse");
        }
        self.forget(record);
        Ok(())
    }

    /// Invites with a new commit and the same reservation, which has what it spent before.
    async fn invite_again<P, F>(
        &self,
        group: &mut MlsGroup,
        provider: &P,
        signer: &impl Signer,
        mut record: InviteRecord,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Recovered, InviteError>
    where
        P: OpenMlsProvider,
        P::StorageError: Send + Sync + 'static,
        F: Future<Output = Result<(), PublishError>>,
    {
        if record.epoch == group.epoch().as_u64() {
            clear(group, provider)?;
        }
        record.epoch = group.epoch().as_u64();
        record.stage = InviteStage::Reserving { held: Vec::new(), spent: true };
        match self.run(group, provider, signer, record, publish).await {
            Ok(invited) => Ok(Recovered::Finished { added: invited.added }),
            Err(InviteError::Incomplete { unusable, .. }) if are_members(&unusable) => {
                let added = unusable.into_iter().map(|rejected| rejected.name).collect();
                Ok(Recovered::Finished { added })
            }
            Err(error) => Err(error),
        }
    }

    async fn run<P, F>(
        &self,
        group: &mut MlsGroup,
        provider: &P,
        signer: &impl Signer,
        mut record: InviteRecord,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Invited, InviteError>
    where
        P: OpenMlsProvider,
        P::StorageError: Send + Sync + 'static,
        F: Future<Output = Result<(), PublishError>>,
    {
        if group.pending_commit().is_some() || !group.is_active() {
            return Err(InviteError::GroupNotReady);
        }
        self.save(&record)?;
        let reserved = self.reserve_verified(group, provider.crypto(), &mut record).await;
        let Verified { reservation, alive, packages, missing, unusable } = match reserved {
            Ok(verified) => verified,
            Err(error) => {
                self.forget_unless_spent(&record, &error);
                return Err(error);
            }
        };

        let invite = match Invite::commit(group, provider, signer, packages) {
            Ok(invite) => invite,
            Err(error) => {
                release(reservation).await;
                let error = InviteError::Commit(error);
                self.forget_unless_spent(&record, &error);
                return Err(error);
            }
        };
        record.stage = InviteStage::Spending(invite.clone());
        if let Err(error) = self.save(&record) {
            clear(group, provider)?;
            release(reservation).await;
            return Err(error);
        }

        let spent = self.spend(group, provider, record, reservation, invite).await?;
        drop(alive);
        let added = spent.invite.added.clone();
        self.finish(group, provider, spent, publish).await?;
        Ok(Invited { added, missing, unusable })
    }

    /// Spends the packages of the pending commit. If that fails, the commit is cleared.
    async fn spend<P>(
        &self,
        group: &mut MlsGroup,
        provider: &P,
        mut record: InviteRecord,
        mut reservation: Reservation,
        invite: Invite,
    ) -> Result<Spent, InviteError>
    where
        P: OpenMlsProvider,
        P::StorageError: Send + Sync + 'static,
    {
        let Err(source) = reservation.spend_packages(&invite.added).await else {
            record.stage = InviteStage::Publishing(invite.clone());
            self.note(&record);
            return Ok(Spent { record, invite });
        };
        clear(group, provider)?;
        if reservation.may_have_spent() {
            record.stage = InviteStage::Reserving { held: Vec::new(), spent: true };
            self.note(&record);
        } else {
            self.forget(&record);
        }
        release(reservation).await;
        Err(InviteError::Spend { source })
    }

    /// Publishes the commit whose packages are spent, and merges it.
    async fn finish<P, F>(
        &self,
        group: &mut MlsGroup,
        provider: &P,
        spent: Spent,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Recovered, InviteError>
    where
        P: OpenMlsProvider,
        P::StorageError: Send + Sync + 'static,
        F: Future<Output = Result<(), PublishError>>,
    {
        let Spent { mut record, invite } = spent;
        match publish_until_clear(publish, &invite).await {
            Ok(()) => {}
            Err(PublishError::Refused(source)) => {
                clear(group, provider)?;
                record.stage = InviteStage::Reserving { held: Vec::new(), spent: true };
                self.note(&record);
                return Err(InviteError::Refused(source));
            }
            Err(PublishError::Retry(source) | PublishError::Later(source)) => {
                return Err(InviteError::Publish { invite: Box::new(invite), source });
            }
        }
        record.stage = InviteStage::Published(invite.clone());
        self.note(&record);
        merge(group, provider)?;
        self.forget(&record);
        Ok(Recovered::Finished { added: invite.added })
    }

    fn load(&self, group: &MlsGroup) -> Result<Option<InviteRecord>, InviteError> {
        self.journal.load(group.group_id().as_slice()).map_err(InviteError::Journal)
    }

    fn save(&self, record: &InviteRecord) -> Result<(), InviteError> {
        self.journal.save(record).map_err(InviteError::Journal)
    }

    /// Saves what saves work in a recovery, and is not needed for it.
    fn note(&self, record: &InviteRecord) {
        if let Err(error) = self.journal.save(record) {
            tracing::warn!(%error, "the journal of invites can't be written");
        }
    }

    /// A record that stays is found to be finished by the next recovery.
    fn forget(&self, record: &InviteRecord) {
        if let Err(error) = self.journal.remove(record.group_id()) {
            tracing::warn!(%error, "the journal of invites can't be written");
        }
    }

    /// What is spent can be used by another commit, unless there is nobody left to add.
    fn forget_unless_spent(&self, record: &InviteRecord, error: &InviteError) {
        let spent = matches!(record.stage, InviteStage::Reserving { spent: true, .. });
        if !spent || matches!(error, InviteError::Incomplete { .. }) {
            self.forget(record);
        }
    }

    /// The reservation of a record, as far as it can be spent and released by names.
    fn reservation_of(&self, record: &InviteRecord) -> Reservation {
        Reservation::named(self.client.clone(), record.request.clone())
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

    async fn reserve_verified<C: OpenMlsCrypto>(
        &self,
        group: &MlsGroup,
        crypto: &C,
        record: &mut InviteRecord,
    ) -> Result<Verified, InviteError> {
        let request = record.request.clone();
        let targets: Vec<_> = request.targets.iter().cloned().map(Target::from).collect();
        let needs = Needs::of(group);
        let reserved = Reservation::make(self.client.clone(), request).await;
        let mut reservation = reserved.map_err(InviteError::Reserve)?;
        let mut alive = reservation.keep_alive();
        let (mut unusable, mut still_missing) = (Vec::new(), Vec::new());
        let mut rounds = 0..REPLACEMENTS;
        let packages = loop {
            let (packages, rejected) = self.verify(&reservation, crypto, &targets, &needs);
            give_back(&mut reservation, &rejected).await;
            let is_replaceable = rejected.iter().any(|rejected| rejected.fault.is_worth_another());
            unusable.extend(rejected);
            if !is_replaceable || rounds.next().is_none() {
                break packages;
            }
            match reservation.ensure().await {
                Ok(()) => alive = reservation.keep_alive(),
                Err(error) if record.request.require_all => {
                    release(reservation).await;
                    return Err(InviteError::Reserve(error));
                }
                Err(error) => {
                    still_missing.extend_from_slice(error.missing());
                    break packages;
                }
            }
        };

        let missing = [reservation.missing(), &still_missing].concat();
        let is_complete = missing.is_empty() && unusable.iter().all(|r| is_replaced(r, &packages));
        if packages.is_empty() || (record.request.require_all && !is_complete) {
            release(reservation).await;
            return Err(InviteError::Incomplete { missing, unusable });
        }
        let held = packages.iter().map(|(name, _)| name.clone()).collect();
        record.stage = InviteStage::Reserving { held, spent: reservation.may_have_spent() };
        self.note(record);
        Ok(Verified { reservation, alive, packages, missing, unusable })
    }

    fn verify<C: OpenMlsCrypto>(
        &self,
        reservation: &Reservation,
        crypto: &C,
        targets: &[Target],
        needs: &Needs,
    ) -> (Vec<Package>, Vec<RejectedPackage>) {
        let mut verification =
            Verification::new(crypto, &self.verifier, targets, needs, self.max_lifetime);
        let mut packages = Vec::new();
        let mut rejected = Vec::new();
        for package in reservation.packages() {
            let name = package.name.clone();
            match verification.verify(package) {
                Ok(key_package) => packages.push((name, key_package)),
                Err(fault) => rejected.push(RejectedPackage { name, fault }),
            }
        }
        (packages, rejected)
    }
}

type Package = (KeyPackageName, KeyPackage);

/// An invite whose packages are spent.
struct Spent {
    record: InviteRecord,
    invite: Invite,
}

struct Verified {
    reservation: Reservation,
    alive: KeepAlive,
    packages: Vec<Package>,
    missing: Vec<Missing>,
    unusable: Vec<RejectedPackage>,
}

fn is_replaced(rejected: &RejectedPackage, packages: &[Package]) -> bool {
    packages.iter().any(|(name, _)| {
        name.user_id == rejected.name.user_id && name.device_id == rejected.name.device_id
    })
}

/// Best effort: what is not given back lapses.
async fn give_back(reservation: &mut Reservation, rejected: &[RejectedPackage]) {
    for RejectedPackage { name, fault } in rejected {
        tracing::warn!(user = name.user_id, device = name.device_id, %fault, "rejected a package");
        if let Err(error) = reservation.release_unusable(name, fault.unusable_reason()).await {
            tracing::debug!(%error, "a rejected package was not given back");
        }
    }
}

/// Best effort: what is not released lapses.
async fn release(reservation: Reservation) {
    if let Err(error) = reservation.release().await {
        tracing::debug!(%error, "a reservation was not released");
    }
}

fn clear<P>(group: &mut MlsGroup, provider: &P) -> Result<(), InviteError>
where
    P: OpenMlsProvider,
    P::StorageError: Send + Sync + 'static,
{
    let cleared = group.clear_pending_commit(provider.storage());
    cleared.map_err(|error| InviteError::Clear(error.into()))
}

fn merge<P>(group: &mut MlsGroup, provider: &P) -> Result<(), InviteError>
where
    P: OpenMlsProvider,
    P::StorageError: Send + Sync + 'static,
{
    group.merge_pending_commit(provider).map_err(|error| InviteError::Merge(error.into()))
}

async fn publish_until_clear<F>(
    mut publish: impl FnMut(Invite) -> F,
    invite: &Invite,
) -> Result<(), PublishError>
where
    F: Future<Output = Result<(), PublishError>>,
{
    let [first, longest] = PUBLISH_DELAYS;
    let delays = ExponentialBuilder::new().with_min_delay(first).with_max_delay(longest);
    for delay in delays.with_jitter().without_max_times().build() {
        match publish(invite.clone()).await {
            Err(PublishError::Retry(error)) => {
                tracing::debug!(%error, ?delay, "not published, publishing again");
                sleep(delay).await;
            }
            settled => return settled,
        }
    }
    Err(PublishError::Later("it was tried for ever".into()))
}

/// Whether all of them are in the group already.
fn are_members(unusable: &[RejectedPackage]) -> bool {
    let is_member = |rejected: &RejectedPackage| rejected.fault == PackageFault::AlreadyMember;
    !unusable.is_empty() && unusable.iter().all(is_member)
}
