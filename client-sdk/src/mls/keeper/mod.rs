//! Keeps a device's pool filled.

mod background;
mod books;
mod builder;
mod credential;
mod error;
mod generate;
mod keys;
mod other_install;
mod plan;
mod problem;
mod reconcile;
mod refresh;
mod report;
mod retire;
mod status;
mod upload;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keypool_proto::v1::RejectionReason;
use openmls::prelude::{Ciphersuite, CredentialWithKey};
use openmls::storage::OpenMlsProvider;
use openmls_traits::signatures::Signer;

pub use background::KeeperHandle;
pub use builder::PoolKeeperBuilder;
pub use error::RefreshError;
pub use problem::{ClockOffset, KeeperProblem, Rejections};
pub use report::{Refreshed, RejectedUpload};
pub use status::KeeperStatus;

use crate::Client;
use builder::Settings;
use credential::Identity;
use refresh::{Memory, Refresh};
use status::Shown;

/// Keeps one device's pool filled with KeyPackages that it generates by OpenMLS, and the device's
/// private keys in step with the pool. Cheap to clone: all clones are one keeper.
///
/// Let it [`run`](Self::run) in the background, or call [`refresh`](Self::refresh) at start, each
/// hour or so, and when the pool runs low. See the [crate's
/// documentation](crate#keeping-a-pool-filled) for an example.
///
/// # Private keys
///
/// They are in the OpenMLS storage provider, and nowhere else. What the keeper remembers of each
/// package, in a [`PoolStore`](super::PoolStore), is its ref, its state and a few times.
///
/// | the package is | its private keys are kept | because |
/// | --- | --- | --- |
/// | created | until the service has taken or rejected it | the next refresh uploads the same package again if the answer was lost, or when there is room |
/// | uploaded, available, reserved | until it is none of these | it can be handed out |
/// | spent | until OpenMLS has joined the Welcome, or for [30 days](PoolKeeperBuilder::spent_grace) after its lifetime | the Welcome may come late |
/// | expired | no longer; a last resort's for [24 hours](PoolKeeperBuilder::revoked_grace) | the service says that nobody spent it; a last resort may have been used |
/// | revoked, or a last resort that was replaced | for [24 hours](PoolKeeperBuilder::revoked_grace) | open holds may still be spent |
/// | failed | no longer, or until the service says that it does not have it | the service rejected it; one that was uploaded before may have been accepted then |
///
/// Before it deletes private keys the keeper asks the service what became of their packages, in the
/// same refresh: a package that it took for unspent may have been spent meanwhile. Without an answer
/// it deletes nothing but what is older than all of these times. A package that the service had
/// accepted and knows no more counts as spent, and is not uploaded again: the service may have
/// handed it out before it lost it. Records are dropped a day after their private keys are gone.
///
/// # Crashes and backups
///
/// A package is generated, recorded, stored with its private keys, uploaded, and recorded again, each
/// step durable before the next: wherever that stops, the next refresh finishes it. When
/// the device or the service was restored from a backup, the first refresh reconciles both: packages
/// whose private keys are gone leave the pool, and what was spent or revoked stays so. Restore the
/// store and the OpenMLS storage from the same backup.
///
/// Several processes may keep the pool of one device, as long as they share the store and the
/// OpenMLS storage, and use the same credential.
///
/// Work with the storage and the cryptography happens on the calling task: a few milliseconds for a
/// whole pool.
pub struct PoolKeeper<P, S> {
    inner: Arc<Inner<P, S>>,
}

struct Inner<P, S> {
    client: Client,
    settings: Settings,
    work: tokio::sync::Mutex<Work<P, S>>,
    shown: Mutex<Shown>,
}

/// What only one refresh at a time may use.
struct Work<P, S> {
    provider: P,
    identity: Identity<S>,
    memory: Memory,
}

impl<P, S> Clone for PoolKeeper<P, S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

/// Without the provider, whose storage has the private keys, and without the signer.
impl<P, S> fmt::Debug for PoolKeeper<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolKeeper").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl PoolKeeper<(), ()> {
    /// A keeper of the pool of this device, for these cipher suites, of which each gets a last-resort
    /// package too. [`PoolKeeperBuilder::build`] takes the MLS side; all else has defaults, of which
    /// the [store](PoolKeeperBuilder::store) is the one to change.
    pub fn builder(
        client: Client,
        user_id: impl Into<String>,
        device_id: impl Into<String>,
        ciphersuites: impl IntoIterator<Item = Ciphersuite>,
    ) -> PoolKeeperBuilder {
        let mut distinct = Vec::new();
        for ciphersuite in ciphersuites {
            if !distinct.contains(&ciphersuite) {
                distinct.push(ciphersuite);
            }
        }
        PoolKeeperBuilder::new(client, user_id.into(), device_id.into(), distinct)
    }
}

impl<P, S> PoolKeeper<P, S>
where
    P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
    S: Deref<Target: Signer + Sized>,
{
    fn new(
        client: Client,
        settings: Settings,
        provider: P,
        credential: CredentialWithKey,
        signer: S,
    ) -> Self {
        let identity = Identity::new(credential, signer);
        let work = Work { provider, identity, memory: Memory::default() };
        let inner = Inner { client, settings, work: work.into(), shown: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Brings the pool to its target, and the private keys in step with it:
    ///
    /// 1. compares both sides: at first and then each day, when the service counts otherwise than the
    ///    records say, and when private keys are to be deleted;
    /// 2. deletes the private keys that nobody needs [any more](Self#private-keys);
    /// 3. uploads what an interrupted refresh left behind;
    /// 4. generates and uploads as many packages as the service recommends, and a last-resort package
    ///    for each cipher suite where there is none, or it was used, or it expires soon;
    /// 5. revokes packages that were made under another credential than the current one.
    ///
    /// A last-resort package that was used is replaced no sooner than ten minutes after its upload,
    /// so that a flood of invites does not become a flood of packages.
    ///
    /// A pool that another install has filled is first left alone for a while:
    /// [`KeeperProblem::OtherInstall`].
    ///
    /// May be called at any time: refreshes of one keeper take turns. May be dropped at any time,
    /// like any crash.
    ///
    /// # Errors
    ///
    /// [`RefreshError`]. It is safe to call again after any of them. A rejected package is no error, but
    /// one of the [problems](Refreshed::problems).
    pub async fn refresh(&self) -> Result<Refreshed, RefreshError> {
        let mut work = self.inner.work.lock().await;
        self.refresh_with(&mut work).await
    }

    /// Replaces the credential, its signature key and its signer: fills the pool with packages of the
    /// new ones, last resort included, and then revokes those of any other. Invites under way may
    /// finish; the private keys of revoked packages are deleted after the
    /// [grace](PoolKeeperBuilder::revoked_grace). Packages of the former credential stay for cipher
    /// suites of which the service takes none of the new one.
    ///
    /// The keeper uses the new credential from now on, whatever this returns. If it is interrupted,
    /// the next refresh with the new credential finishes it; after a restart, build the keeper with
    /// the new one. Stop keepers of the same device in other processes before, because each takes
    /// the other's credential for an old one.
    ///
    /// # Errors
    ///
    /// [`RefreshError`]. The next refresh goes on from there.
    pub async fn rotate_credential(
        &self,
        credential: CredentialWithKey,
        signer: S,
    ) -> Result<Refreshed, RefreshError> {
        let mut work = self.inner.work.lock().await;
        work.identity = Identity::new(credential, signer);
        self.refresh_with(&mut work).await
    }

    async fn refresh_with(&self, work: &mut Work<P, S>) -> Result<Refreshed, RefreshError> {
        let (provider, identity) = (&mut work.provider, &mut work.identity);
        let mut refresh = match Refresh::begin(&self.inner, provider, identity) {
            Ok(refresh) => refresh,
            Err(error) => return self.show(Refreshed::default(), Err(error)),
        };
        let outcome = Box::pin(refresh.run(&mut work.memory)).await;
        refresh.report.problems = refresh.problems(&work.memory);
        if outcome.is_ok() {
            self.inner.shown().last_resort_rests_until = refresh.last_resort_rests_until;
        }
        self.show(refresh.report, outcome)
    }

    fn show(
        &self,
        report: Refreshed,
        outcome: Result<(), RefreshError>,
    ) -> Result<Refreshed, RefreshError> {
        self.inner.shown().refreshed(&report, &outcome, self.inner.settings.now());
        outcome.map(|()| report)
    }

    /// How the pool and the keeper are, for a settings page. Counts the records; asks nobody.
    ///
    /// # Errors
    ///
    /// [`RefreshError::Store`] if the store can't be read.
    pub fn status(&self) -> Result<KeeperStatus, RefreshError> {
        let records = self.inner.settings.store.records().map_err(RefreshError::Store)?;
        Ok(KeeperStatus::new(&records, &self.inner.shown()))
    }
}

/// Whether the service may accept the same package later.
fn is_for_want_of_room(reason: RejectionReason) -> bool {
    matches!(reason, RejectionReason::PoolFull | RejectionReason::QuotaExceeded)
}

impl<P, S> Inner<P, S> {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
