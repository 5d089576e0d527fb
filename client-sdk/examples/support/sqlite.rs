//! OpenMLS with its storage in an SQLite file, as applications have it.

use std::path::Path;

use openmls_rust_crypto::RustCrypto;
use openmls_sqlite_storage::{Codec, Connection, SqliteStorageProvider};
use openmls_traits::OpenMlsProvider;
use serde::{Serialize, de::DeserializeOwned};

use super::Result;

/// How OpenMLS' storage encodes what it keeps.
#[derive(Default)]
pub(crate) struct Json;

impl Codec for Json {
    type Error = serde_json::Error;

    fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, Self::Error> {
        serde_json::to_vec(value)
    }

    fn from_slice<T: DeserializeOwned>(slice: &[u8]) -> Result<T, Self::Error> {
        serde_json::from_slice(slice)
    }
}

/// A connection of its own to the file. Open another one for each task that works with OpenMLS.
pub(crate) struct SqliteProvider {
    crypto: RustCrypto,
    storage: SqliteStorageProvider<Json, Connection>,
}

impl SqliteProvider {
    pub(crate) fn open(file: &Path) -> Result<Self> {
        let mut storage = SqliteStorageProvider::new(Connection::open(file)?);
        storage.run_migrations()?;
        Ok(Self { crypto: RustCrypto::default(), storage })
    }
}

impl OpenMlsProvider for SqliteProvider {
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
