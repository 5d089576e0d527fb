//! A device whose private keys and record are in one SQLite file, against a real service.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};

use keypool_client::mls::{PackageState, PoolStore, RefreshError, SqlitePoolStore};
use keypool_client::{BasicIdentity, Client, Inviter, PoolKeeper, Recovered, Target};
use keypool_service::testing::server::TestServer;
use openmls::prelude::{MlsGroup, MlsGroupCreateConfig};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::RustCrypto;
use openmls_sqlite_storage::{Codec, Connection, SqliteStorageProvider};
use openmls_traits::OpenMlsProvider;
use support::device::{Device, SUITE};
use support::eventually;
use tempfile::TempDir;

#[derive(Default)]
struct Json;

impl Codec for Json {
    type Error = serde_json::Error;

    fn to_vec<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Self::Error> {
        serde_json::to_vec(value)
    }

    fn from_slice<T: serde::de::DeserializeOwned>(slice: &[u8]) -> Result<T, Self::Error> {
        serde_json::from_slice(slice)
    }
}

struct Provider {
    crypto: RustCrypto,
    storage: SqliteStorageProvider<Json, Connection>,
}

impl Provider {
    fn open(path: &Path) -> Self {
        let mut storage = SqliteStorageProvider::new(Connection::open(path).unwrap());
        storage.run_migrations().unwrap();
        Self { crypto: RustCrypto::default(), storage }
    }
}

impl OpenMlsProvider for Provider {
    type CryptoProvider = RustCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = SqliteStorageProvider<Json, Connection>;

    fn storage(&self) -> &Self::StorageProvider {
        &self.storage
    }

    fn crypto(&self) -> &Self::CryptoProvider {
        &self.crypto
    }

    fn rand(&self) -> &Self::RandProvider {
        &self.crypto
    }
}

/// Bob's phone, switched off.
struct Phone {
    server: TestServer,
    client: Client,
    device: Device,
    file: PathBuf,
    _folder: TempDir,
}

impl Phone {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let client = Client::builder(server.endpoint()).connect().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("device.sqlite");
        Self { server, client, device: Device::new("bob", "phone"), file, _folder: folder }
    }

    fn store(&self) -> SqlitePoolStore {
        SqlitePoolStore::open(&self.file, "bob", "phone").unwrap()
    }

    fn start(&self) -> PoolKeeper<Box<Provider>, &SignatureKeyPair> {
        PoolKeeper::builder(self.client.clone(), "bob", "phone", [SUITE]).store(self.store()).build(
            Box::new(Provider::open(&self.file)),
            self.device.credential.clone(),
            &self.device.signer,
        )
    }

    /// By hand, as no application should.
    fn execute(&self, sql: &str) {
        Connection::open(&self.file).unwrap().execute_batch(sql).unwrap();
    }

    fn count(&self, table: &str) -> usize {
        let count = format!("SELECT count(*) FROM {table}");
        Connection::open(&self.file).unwrap().query_row(&count, (), |row| row.get(0)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_kept_filled_in_the_background() {
    let phone = Phone::new().await;
    let (provider, bob) = (Provider::open(&phone.file), Device::new("bob", "phone"));
    let keeper = PoolKeeper::builder(phone.client.clone(), "bob", "phone", [SUITE])
        .store(phone.store())
        .build(Box::new(provider), bob.credential, Box::new(bob.signer));

    let keeping = keeper.spawn();

    eventually(|| keeper.status().unwrap().last_refresh.is_some()).await;
    keeping.stop().await;
    phone.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_invites_in_a_task_of_its_own() {
    let phone = Phone::new().await;
    phone.start().refresh().await.unwrap();
    let file = phone.file.with_file_name("alice.sqlite");
    let (mut provider, alice) = (Provider::open(&file), Device::new("alice", "laptop"));
    let config = MlsGroupCreateConfig::default();
    let group = MlsGroup::new(&provider, &alice.signer, &config, alice.credential.clone());
    let (mut group, signer) = (group.unwrap(), alice.signer);
    let inviter = Inviter::new(phone.client.clone(), BasicIdentity::default());

    let task = tokio::spawn(async move {
        let targets = [Target::user("bob")];
        let publish = async |_| Ok(());
        let invited = inviter.invite(&mut group, &mut provider, &signer, targets, publish).await;
        let recovered = inviter.recover(&mut group, &mut provider, &signer, publish).await;
        (invited.unwrap().added.len(), recovered.unwrap())
    });

    assert_eq!(task.await.unwrap(), (1, Recovered::Nothing));
    phone.server.stop().await;
}

#[tokio::test]
async fn a_restart_loses_nothing() {
    let phone = Phone::new().await;
    assert_eq!(phone.start().refresh().await.unwrap().uploaded.len(), 33);
    assert_eq!(phone.count("openmls_key_packages"), 33);

    let refreshed = phone.start().refresh().await.unwrap();

    assert_eq!((refreshed.uploaded.len(), refreshed.revoked.len()), (0, 0));
    let records = phone.store().records().unwrap();
    assert!(records.iter().all(|record| record.state == PackageState::Available));
    phone.server.stop().await;
}

#[tokio::test]
async fn a_storage_that_fails_half_way_leaves_nothing_behind() {
    let phone = Phone::new().await;
    Provider::open(&phone.file);
    phone.execute(
        "CREATE TRIGGER full BEFORE INSERT ON openmls_key_packages
         WHEN (SELECT count(*) >= 10 FROM openmls_key_packages)
         BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
    );
    let error = phone.start().refresh().await.unwrap_err();
    assert!(matches!(error, RefreshError::Storage(_)), "{error:?}");
    assert_eq!((phone.count("openmls_key_packages"), phone.count("keypool_package")), (10, 33));

    phone.execute("DROP TRIGGER full");
    let refreshed = phone.start().refresh().await.unwrap();

    assert_eq!(refreshed.uploaded.len(), 33, "ten of them from before");
    assert_eq!(phone.count("openmls_key_packages"), 33);
    let status = phone.client.pool_status("bob", "phone").await.unwrap();
    assert_eq!((status.pools[0].accepted, status.pools[0].available), (32, 32));
    phone.server.stop().await;
}
