//! Setting a keeper up.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use openmls::prelude::{Capabilities, Ciphersuite, CredentialWithKey};
use openmls::storage::OpenMlsProvider;
use openmls_traits::signatures::Signer;

use super::super::store::{MemoryPoolStore, PoolStore};
use super::PoolKeeper;
use crate::Client;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Sets up a [`PoolKeeper`]. See [`PoolKeeper::builder`].
#[derive(Debug, Clone)]
pub struct PoolKeeperBuilder {
    client: Client,
    settings: Settings,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) user_id: String,
    pub(super) device_id: String,
    pub(super) ciphersuites: Vec<Ciphersuite>,
    pub(super) store: Arc<dyn PoolStore>,
    pub(super) capabilities: Option<Capabilities>,
    pub(super) lifetime: Duration,
    pub(super) clock_margin: Duration,
    pub(super) refresh_interval: Duration,
    pub(super) revoked_grace: Duration,
    pub(super) spent_grace: Duration,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Settings {
    /// In whole seconds, like the times in packages and in stores.
    pub(super) fn now(&self) -> SystemTime {
        let now = (self.clock)();
        match now.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()),
            Err(_) => SystemTime::UNIX_EPOCH,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("user_id", &self.user_id)
            .field("device_id", &self.device_id)
            .field("ciphersuites", &self.ciphersuites)
            .finish_non_exhaustive()
    }
}

impl PoolKeeperBuilder {
    pub(super) fn new(
        client: Client,
        user_id: String,
        device_id: String,
        ciphersuites: Vec<Ciphersuite>,
    ) -> Self {
        let settings = Settings {
            user_id,
            device_id,
            ciphersuites,
            store: Arc::new(MemoryPoolStore::default()),
            capabilities: None,
            lifetime: 14 * DAY,
            clock_margin: HOUR,
            refresh_interval: HOUR,
            revoked_grace: DAY,
            spent_grace: 30 * DAY,
            clock: Arc::new(system_time),
        };
        Self { client, settings }
    }

    /// Where the packages are recorded. Unless set that is a [`MemoryPoolStore`], with which each
    /// restart costs the whole pool: right for tests and for devices whose private keys are in memory
    /// too, and for nothing else.
    #[must_use]
    pub fn store(mut self, store: impl PoolStore + 'static) -> Self {
        self.settings.store = Arc::new(store);
        self
    }

    /// What the application supports, for packages generated from now on. Unless set, that is what
    /// the provider and OpenMLS support by themselves. Must list
    /// [`ExtensionType::LastResort`](openmls::prelude::ExtensionType::LastResort), the cipher
    /// suites, and the type of the credential.
    #[must_use]
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.settings.capabilities = Some(capabilities);
        self
    }

    /// How long packages generated from now on stay valid. 14 days unless set; the service accepts
    /// 90 days at most (RFC 9420, section 7.2), the [clock margin](Self::clock_margin) included.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.lifetime = lifetime;
        self
    }

    /// How long before now the lifetime of packages generated from now on begins, for inviters whose
    /// clocks are slow. An hour unless set.
    #[must_use]
    pub fn clock_margin(mut self, margin: Duration) -> Self {
        self.settings.clock_margin = margin;
        self
    }

    /// How long [`PoolKeeper::run`] waits between two refreshes when nothing happens: an hour unless
    /// set; a second at least, a day at most.
    #[must_use]
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.settings.refresh_interval = interval.clamp(Duration::from_secs(1), DAY);
        self
    }

    /// How long the private keys of a revoked package, and of a last resort that was replaced or has
    /// expired, are kept for invites under way. 24 hours unless set, which is how long the service
    /// lets an open hold be spent after a revocation, unless configured otherwise.
    #[must_use]
    pub fn revoked_grace(mut self, grace: Duration) -> Self {
        self.settings.revoked_grace = grace;
        self
    }

    /// How long after the end of its lifetime the private keys of a spent package are kept for a
    /// Welcome that is late. 30 days unless set. Nothing outlives this.
    #[must_use]
    pub fn spent_grace(mut self, grace: Duration) -> Self {
        self.settings.spent_grace = grace;
        self
    }

    /// Where the time comes from: the system unless set. For tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// The keeper. The private keys go to the provider's storage, and packages are made with this
    /// credential and signer, whose signature scheme must be that of the cipher suites. Provider and
    /// signer may be anything that points to one: a reference, an `Arc` or a `Box`. They need be `Send`
    /// for [`PoolKeeper::spawn`], and `Sync` for nothing: a provider on an SQLite connection of its own
    /// goes in a `Box`.
    #[must_use]
    pub fn build<P, S>(
        self,
        provider: P,
        credential: CredentialWithKey,
        signer: S,
    ) -> PoolKeeper<P, S>
    where
        P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
        S: Deref<Target: Signer + Sized>,
    {
        PoolKeeper::new(self.client, self.settings, provider, credential, signer)
    }
}

#[allow(clippy::disallowed_methods)] // the one place that asks the machine
fn system_time() -> SystemTime {
    SystemTime::now()
}
