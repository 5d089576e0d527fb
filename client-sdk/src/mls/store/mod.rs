//! What a device knows of its packages, apart from their keys.

mod memory;
mod record;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt::Debug;
use std::sync::Arc;

pub use memory::MemoryPoolStore;
pub use record::{PackageState, PoolRecord, UnknownPackageState};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite::SqlitePoolStore;

use super::BoxError;

/// Where a [`PoolKeeper`](super::PoolKeeper) records the packages of one device: refs, states and
/// times, never a private key and never a package.
///
/// The record is what makes a crash harmless: a package is recorded before its private keys are
/// stored and before it is uploaded. Keep it where the OpenMLS storage is kept, so that both are
/// backed up and restored together.
///
/// Calls are short and may block. Several processes may share a store.
pub trait PoolStore: Debug + Send + Sync {
    /// Every record, in any order.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    fn records(&self) -> Result<Vec<PoolRecord>, BoxError>;

    /// Stores records, each in place of the one with the same ref: all of them or none, and durably
    /// before it returns. Times may be rounded down to whole seconds.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    fn put(&self, records: &[PoolRecord]) -> Result<(), BoxError>;

    /// Drops the records with these refs: all of them or none. Refs without a record are no error.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    fn forget(&self, key_package_refs: &[Vec<u8>]) -> Result<(), BoxError>;
}

impl<T: PoolStore + ?Sized> PoolStore for Arc<T> {
    fn records(&self) -> Result<Vec<PoolRecord>, BoxError> {
        (**self).records()
    }

    fn put(&self, records: &[PoolRecord]) -> Result<(), BoxError> {
        (**self).put(records)
    }

    fn forget(&self, key_package_refs: &[Vec<u8>]) -> Result<(), BoxError> {
        (**self).forget(key_package_refs)
    }
}
