//! The record as one refresh sees and changes it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::super::store::{PackageState, PoolRecord, PoolStore};
use super::RefreshError;

/// The records of a store, and which private keys the device has.
pub(super) struct Books {
    store: Arc<dyn PoolStore>,
    records: BTreeMap<Vec<u8>, PoolRecord>,
    /// Refs of records that are not stored as they are here.
    unsaved: BTreeSet<Vec<u8>>,
    keys: HashSet<Vec<u8>>,
    now: SystemTime,
}

impl Books {
    /// Of a store, not read yet.
    pub(super) fn new(store: Arc<dyn PoolStore>, now: SystemTime) -> Self {
        let (records, unsaved, keys) = (BTreeMap::new(), BTreeSet::new(), HashSet::new());
        Self { store, records, unsaved, keys, now }
    }

    /// Reads what has come into the store, from other processes perhaps. `has_key` tells whether the device has the private keys
    /// of a package.
    pub(super) fn catch_up(
        &mut self,
        mut has_key: impl FnMut(&[u8]) -> Result<bool, RefreshError>,
    ) -> Result<(), RefreshError> {
        for record in self.store.records().map_err(RefreshError::Store)? {
            let key_package_ref = &record.key_package_ref;
            if !self.keys.contains(key_package_ref) && has_key(key_package_ref)? {
                self.keys.insert(key_package_ref.clone());
            }
            self.records.entry(key_package_ref.clone()).or_insert(record);
        }
        Ok(())
    }

    pub(super) fn get(&self, key_package_ref: &[u8]) -> Option<&PoolRecord> {
        self.records.get(key_package_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PoolRecord> {
        self.records.values()
    }

    pub(super) fn has_key(&self, record: &PoolRecord) -> bool {
        self.keys.contains(&record.key_package_ref)
    }

    /// The refs of the records for which this holds.
    pub(super) fn refs(&self, holds: impl Fn(&PoolRecord) -> bool) -> Vec<Vec<u8>> {
        let records = self.iter().filter(|record| holds(record));
        records.map(|record| record.key_package_ref.clone()).collect()
    }

    pub(super) fn insert(&mut self, record: PoolRecord) {
        self.unsaved.insert(record.key_package_ref.clone());
        self.records.insert(record.key_package_ref.clone(), record);
    }

    pub(super) fn set_state(&mut self, key_package_ref: &[u8], state: PackageState) {
        self.change(key_package_ref, |record, now| {
            if record.state == state {
                return;
            }
            record.state = state;
            record.changed_at = now;
            if state.is_pooled() {
                record.rejection = None;
                record.uploaded_at.get_or_insert(now);
            }
        });
    }

    /// Counts the grace from now, even if it was revoked before.
    pub(super) fn set_revoked_now(&mut self, key_package_ref: &[u8]) {
        self.change(key_package_ref, |record, now| {
            record.state = PackageState::Revoked;
            record.changed_at = now;
        });
    }

    pub(super) fn change(
        &mut self,
        key_package_ref: &[u8],
        change: impl FnOnce(&mut PoolRecord, SystemTime),
    ) {
        let Some(record) = self.records.get_mut(key_package_ref) else { return };
        let before = record.clone();
        change(record, self.now);
        if *record != before {
            self.unsaved.insert(key_package_ref.to_vec());
        }
    }

    pub(super) fn key_written(&mut self, key_package_ref: &[u8]) {
        self.keys.insert(key_package_ref.to_vec());
    }

    pub(super) fn key_deleted(&mut self, key_package_ref: &[u8]) {
        self.keys.remove(key_package_ref);
    }

    /// Stores what has changed.
    pub(super) fn save(&mut self) -> Result<(), RefreshError> {
        let changed = self.unsaved.iter().filter_map(|one| self.records.get(one));
        let changed: Vec<_> = changed.cloned().collect();
        if !changed.is_empty() {
            self.store.put(&changed).map_err(RefreshError::Store)?;
        }
        self.unsaved.clear();
        Ok(())
    }

    pub(super) fn forget(&mut self, key_package_refs: &[Vec<u8>]) -> Result<(), RefreshError> {
        if key_package_refs.is_empty() {
            return Ok(());
        }
        self.store.forget(key_package_refs).map_err(RefreshError::Store)?;
        for key_package_ref in key_package_refs {
            self.records.remove(key_package_ref);
            self.unsaved.remove(key_package_ref);
        }
        Ok(())
    }
}
