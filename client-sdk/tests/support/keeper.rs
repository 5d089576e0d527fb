//! A device that keeps its pool at a real service, with a clock that can be moved.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use keypool_client::mls::{PackageState, PoolRecord, PoolStore};
use keypool_client::{CipherSuitePool, Client, PoolKeeper, PoolKeeperBuilder};
use keypool_service::clock::Clock;
use keypool_service::testing::server::TestServer;
use openmls::prelude::{tls_codec::*, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::storage::StorageProvider;

use super::device::{Device, SUITE};

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// OpenMLS goes by the machine's clock, whatever the service's clock says: lifetimes begin so early
/// that it takes packages from times ahead.
const CLOCK_MARGIN: Duration = Duration::from_secs(200 * 24 * 60 * 60);

pub(crate) type Keeper<'a> = PoolKeeper<&'a OpenMlsRustCrypto, &'a SignatureKeyPair>;

/// Bob's phone.
pub(crate) struct Phone {
    pub(crate) server: TestServer,
    pub(crate) client: Client,
    pub(crate) device: Device,
    last_resorts: Mutex<HashSet<Vec<u8>>>,
}

/// What a backup of a device has in it.
pub(crate) struct Backup {
    pub(crate) keys: HashMap<Vec<u8>, Vec<u8>>,
    pub(crate) records: Vec<PoolRecord>,
}

impl Phone {
    pub(crate) async fn new() -> Self {
        let long = (2 * CLOCK_MARGIN).try_into().unwrap();
        let server = TestServer::start_with(|config| config.validation.max_lifetime = long).await;
        let client = Client::builder(server.endpoint()).connect().await.unwrap();
        let device = Device::new("bob", "phone");
        Self { server, client, device, last_resorts: Mutex::default() }
    }

    /// Another phone at the same service.
    pub(crate) fn replace_device(&mut self, device_id: &str) {
        self.device = Device::new("bob", device_id);
    }

    pub(crate) fn builder(&self) -> PoolKeeperBuilder {
        let clock = self.server.clock().clone();
        PoolKeeper::builder(self.client.clone(), "bob", &self.device.device_id, [SUITE])
            .store(self.device.store.clone())
            .clock(move || clock.now().into())
            .clock_margin(CLOCK_MARGIN)
    }

    /// A keeper that has just been started.
    pub(crate) fn keeper(&self) -> Keeper<'_> {
        self.keeper_with(self.builder())
    }

    pub(crate) fn keeper_with(&self, builder: PoolKeeperBuilder) -> Keeper<'_> {
        let device = &self.device;
        builder.build(&device.provider, device.credential.clone(), &device.signer)
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.server.clock().now().into()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.server.clock().advance(by.try_into().unwrap());
    }

    pub(crate) fn records(&self) -> Vec<PoolRecord> {
        self.device.store.records().unwrap()
    }

    pub(crate) fn states(&self) -> BTreeMap<PackageState, usize> {
        let mut states = BTreeMap::new();
        for record in self.records() {
            *states.entry(record.state).or_default() += 1;
        }
        states
    }

    pub(crate) fn count(&self, state: PackageState) -> usize {
        self.states().get(&state).copied().unwrap_or_default()
    }

    pub(crate) fn record(&self, key_package_ref: &[u8]) -> PoolRecord {
        let mut records = self.records().into_iter();
        records.find(|record| record.key_package_ref == key_package_ref).unwrap()
    }

    pub(crate) fn has_key(&self, key_package_ref: &[u8]) -> bool {
        has_key(&self.device.provider, key_package_ref)
    }

    /// The refs of the recorded packages whose private keys are there.
    pub(crate) fn keyed(&self) -> Vec<Vec<u8>> {
        let refs = self.records().into_iter().map(|record| record.key_package_ref);
        refs.filter(|one| self.has_key(one)).collect()
    }

    /// How many packages have their private keys in the storage of OpenMLS.
    pub(crate) fn stored_keys(&self) -> usize {
        let values = self.device.provider.storage().values.read().unwrap();
        values.keys().filter(|key| key.starts_with(b"KeyPackage")).count()
    }

    pub(crate) async fn pool(&self) -> CipherSuitePool {
        let status = self.client.pool_status("bob", &self.device.device_id).await.unwrap();
        let [pool] = &status.pools[..] else { panic!("{status:?}") };
        pool.clone()
    }

    /// The ref of the last-resort package that the service hands out.
    pub(crate) async fn last_resort(&self) -> Vec<u8> {
        self.pool().await.last_resort.unwrap().key_package_ref
    }

    /// Reserves a package for a group and, if told to, spends it. Returns its ref.
    pub(crate) async fn invite(&self, group: &str, spend: bool) -> Vec<u8> {
        let reserve = self.client.reserve(group.as_bytes());
        let mut reservation = reserve.device("bob", &self.device.device_id).send().await.unwrap();
        let key_package_ref = reservation.packages()[0].name.key_package_ref.clone();
        if spend {
            reservation.spend().await.unwrap();
        } else {
            reservation.keep();
        }
        key_package_ref
    }

    /// What holds at all times: every private key is recorded, every package in the pool has its
    /// private key, the books balance, and the cap is kept.
    pub(crate) async fn check(&self) {
        let keyed = self.keyed();
        assert_eq!(keyed.len(), self.stored_keys(), "private keys without a record");
        let replaced = self.replaced_last_resorts().await;
        let reconciled =
            self.client.reconcile("bob", &self.device.device_id, keyed, None).await.unwrap();
        for revoked in &reconciled.revoked {
            assert!(replaced.contains(revoked), "pooled without private keys: {reconciled:?}");
        }
        let pool = self.pool().await;
        let pooled = pool.available + pool.reserved + pool.quarantined;
        let gone = pool.spent + pool.expired + pool.revoked + pool.purged;
        assert_eq!(pool.accepted, pooled + gone, "{pool:?}");
        assert!(pool.available + pool.reserved <= 64, "{pool:?}");
    }

    /// The pool is as a refresh should leave it.
    pub(crate) async fn check_full(&self) {
        self.check().await;
        let pool = self.pool().await;
        assert!(pool.available >= 32, "{pool:?}");
        assert_eq!(pool.last_resort.unwrap().use_count, 0);
    }

    /// The refs of the last-resort packages that were seen, and that the service hands out no more.
    async fn replaced_last_resorts(&self) -> HashSet<Vec<u8>> {
        let current = self.pool().await.last_resort;
        let last_resorts = self.records().into_iter().filter(|record| record.last_resort);
        let mut seen = self.last_resorts.lock().unwrap();
        seen.extend(last_resorts.map(|record| record.key_package_ref));
        let mut replaced = seen.clone();
        if let Some(current) = current {
            replaced.remove(&current.key_package_ref);
        }
        replaced
    }

    pub(crate) fn back_up(&self) -> Backup {
        let keys = self.device.provider.storage().values.read().unwrap().clone();
        Backup { keys, records: self.records() }
    }

    pub(crate) fn restore(&self, backup: Backup) {
        *self.device.provider.storage().values.write().unwrap() = backup.keys;
        let refs: Vec<_> = self.records().into_iter().map(|one| one.key_package_ref).collect();
        self.device.store.forget(&refs).unwrap();
        self.device.store.put(&backup.records).unwrap();
    }
}

pub(crate) fn has_key(provider: &OpenMlsRustCrypto, key_package_ref: &[u8]) -> bool {
    let stored: Option<KeyPackageBundle> =
        provider.storage().key_package(&to_ref(key_package_ref)).unwrap();
    stored.is_some()
}

pub(crate) fn to_ref(key_package_ref: &[u8]) -> KeyPackageRef {
    let encoded = VLBytes::from(key_package_ref).tls_serialize_detached().unwrap();
    KeyPackageRef::tls_deserialize_exact_bytes(&encoded).unwrap()
}

/// Polls a future so many times at most, and then drops it: what it does next is never done.
/// Returns its output if it came to its end.
pub(crate) async fn interrupt<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
