//! A store that breaks.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use keypool_client::mls::{MemoryPoolStore, PoolRecord, PoolStore};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A store that fails from its n-th change on, which it still makes or not.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    store: Arc<MemoryPoolStore>,
    changes_left: AtomicUsize,
    makes_last: AtomicBool,
}

impl FaultyStore {
    pub(crate) fn new(store: Arc<MemoryPoolStore>, changes: usize, makes_last: bool) -> Self {
        Self { store, changes_left: changes.into(), makes_last: makes_last.into() }
    }

    fn change(&self, change: impl Fn(&MemoryPoolStore) -> Result<()>) -> Result<()> {
        let take = |left: usize| left.checked_sub(1);
        if self.changes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
            return change(&self.store);
        }
        if self.makes_last.swap(false, Ordering::SeqCst) {
            change(&self.store)?;
        }
        Err("the store broke".into())
    }
}

impl PoolStore for FaultyStore {
    fn records(&self) -> Result<Vec<PoolRecord>> {
        self.store.records()
    }

    fn put(&self, records: &[PoolRecord]) -> Result<()> {
        self.change(|store| store.put(records))
    }

    fn forget(&self, key_package_refs: &[Vec<u8>]) -> Result<()> {
        self.change(|store| store.forget(key_package_refs))
    }
}
