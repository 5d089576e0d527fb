//! A store that ends with its process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::BoxError;
use super::{PoolRecord, PoolStore};

/// A [`PoolStore`] in memory, for tests and for devices whose private keys are in memory too.
///
/// Where the private keys outlive the process and the record does not, a restart costs the whole
/// pool: the keeper knows none of its packages any more, so the first refresh revokes them all (what
/// is reserved may still be spent) and uploads new ones. The private keys of what was revoked are
/// found again and deleted after the grace; those of packages that were spent before stay behind
/// until OpenMLS joins their Welcome.
#[derive(Debug, Default)]
pub struct MemoryPoolStore {
    records: Mutex<BTreeMap<Vec<u8>, PoolRecord>>,
}

impl MemoryPoolStore {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, PoolRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolStore for MemoryPoolStore {
    fn records(&self) -> Result<Vec<PoolRecord>, BoxError> {
        Ok(self.lock().values().cloned().collect())
    }

    fn put(&self, records: &[PoolRecord]) -> Result<(), BoxError> {
        let by_ref = records.iter().map(|record| (record.key_package_ref.clone(), record.clone()));
        self.lock().extend(by_ref);
        Ok(())
    }

    fn forget(&self, key_package_refs: &[Vec<u8>]) -> Result<(), BoxError> {
        let mut records = self.lock();
        for key_package_ref in key_package_refs {
            records.remove(key_package_ref);
        }
        Ok(())
    }
}
