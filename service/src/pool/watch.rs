//! Tells watchers when a pool's health changed, its last-resort package was used, or a package was spent.
//!
//! One task reads what matters of all the watched devices in one statement, each second and at once after a change made
//! here. So it works across replicas without a NOTIFY, which would make commits take turns.

use super::{CipherSuiteStatus, DeviceStatus, Health, Inner, KeyPackagePool, PoolError};
use crate::{
    store::{DeviceKey, StoreError, WatchRow},
    types::{CipherSuite, DeviceId, KeyPackageRef, UserId},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// How often watched devices are read.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many devices one statement reads.
const DEVICES: usize = 1000;

/// What watchers of a device are told about; they are told when it changes.
type Signature = Vec<(CipherSuite, Health, u64, Option<(KeyPackageRef, u64)>)>;

#[derive(Debug)]
struct Watched {
    signature: Option<Signature>,
    changes: watch::Sender<u64>,
}

/// The devices that are watched.
#[derive(Debug)]
pub(super) struct Watches {
    limit: usize,
    /// None once closed.
    devices: Mutex<Option<HashMap<DeviceKey, Watched>>>,
    wake: Notify,
}

impl Watches {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, devices: Mutex::new(Some(HashMap::new())), wake: Notify::new() }
    }

    fn devices(&self) -> MutexGuard<'_, Option<HashMap<DeviceKey, Watched>>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a device read at once, if it is watched.
    pub(super) fn touch(&self, device: &DeviceKey) {
        if self.devices().as_ref().is_some_and(|devices| devices.contains_key(device)) {
            self.wake.notify_one();
        }
    }

    /// Ends every watch, and refuses new ones.
    pub(super) fn close(&self) {
        self.devices().take();
        self.wake.notify_one();
    }

    fn subscribe(&self, device: DeviceKey) -> Result<watch::Receiver<u64>, PoolError> {
        let mut devices = self.devices();
        let devices = devices.as_mut().ok_or(PoolError::ShuttingDown)?;
        devices.retain(|_, watched| watched.changes.receiver_count() > 0);
        let watches: usize = devices.values().map(|watched| watched.changes.receiver_count()).sum();
        if watches >= self.limit {
            return Err(PoolError::Overloaded);
        }
        let watched = devices
            .entry(device)
            .or_insert_with(|| Watched { signature: None, changes: watch::Sender::new(0) });
        Ok(watched.changes.subscribe())
    }

    /// The devices to read; none once closed.
    fn watched(&self) -> Option<Vec<DeviceKey>> {
        let mut devices = self.devices();
        let devices = devices.as_mut()?;
        devices.retain(|_, watched| watched.changes.receiver_count() > 0);
        Some(devices.keys().cloned().collect())
    }

    fn compare(&self, device: &DeviceKey, signature: Signature) {
        let mut devices = self.devices();
        let Some(watched) = devices.as_mut().and_then(|devices| devices.get_mut(device)) else {
            return;
        };
        if watched.signature.as_ref().is_some_and(|before| *before != signature) {
            watched.changes.send_modify(|change| *change += 1);
        }
        watched.signature = Some(signature);
    }

    /// A watcher is told this state, which is newer than the one that was compared last. Whatever differs from it is a change,
    /// the state before it included.
    fn tell(&self, device: &DeviceKey, signature: Signature, changes: &mut watch::Receiver<u64>) {
        let mut devices = self.devices();
        let Some(watched) = devices.as_mut().and_then(|devices| devices.get_mut(device)) else {
            return;
        };
        if watched.signature.as_ref() != Some(&signature) {
            watched.changes.send_modify(|change| *change += 1);
            changes.mark_unchanged();
            watched.signature = Some(signature);
        }
    }
}

/// Follows watched devices until the pool is gone or its watches are closed.
pub(super) fn follow(inner: &Arc<Inner>) {
    let inner = Arc::downgrade(inner);
    tokio::spawn(async move { while let Some(()) = round(&inner).await {} });
}

async fn round(inner: &Weak<Inner>) -> Option<()> {
    {
        let inner = inner.upgrade()?;
        let devices = inner.watches.watched()?;
        for chunk in devices.chunks(DEVICES) {
            if let Err(error) = inner.look_at(chunk).await {
                tracing::debug!(%error, "could not read watched pools; will try again");
            }
        }
    }
    // The pool must not be kept alive while waiting, so the wait ends each second whatever happens.
    let woken = inner.upgrade()?;
    tokio::time::timeout(INTERVAL, woken.watches.wake.notified()).await.ok();
    Some(())
}

impl Inner {
    async fn look_at(&self, devices: &[DeviceKey]) -> Result<(), StoreError> {
        let mut rows: HashMap<usize, Signature> = HashMap::new();
        for row in self.store.watch(devices, self.store.clock().now()).await? {
            rows.entry(row.item).or_default().push(self.sign(row));
        }
        for (item, device) in devices.iter().enumerate() {
            self.watches.compare(device, rows.remove(&item).unwrap_or_default());
        }
        Ok(())
    }

    fn sign(&self, row: WatchRow) -> (CipherSuite, Health, u64, Option<(KeyPackageRef, u64)>) {
        (row.cipher_suite, Health::of(row.available, &self.policy), row.spent, row.last_resort)
    }
}

/// The same of a status.
fn signature_of(status: &DeviceStatus) -> Signature {
    let sign = |pool: &CipherSuiteStatus| {
        let counts = &pool.counts;
        let last_resort = counts.last_resort.as_ref().map(|one| (one.reference.clone(), one.uses));
        (counts.cipher_suite, pool.health, counts.spent, last_resort)
    };
    status.pools.iter().map(sign).collect()
}

/// A watch on one device's pool.
#[derive(Debug)]
pub struct Watch {
    pool: KeyPackagePool,
    user: UserId,
    device: DeviceId,
    changes: watch::Receiver<u64>,
    first: bool,
}

impl Watch {
    /// The status now, the first time; then the status after the next change. None once the service stops.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn next(&mut self) -> Option<Result<DeviceStatus, PoolError>> {
        if std::mem::take(&mut self.first) {
            self.changes.mark_unchanged();
        } else {
            self.changes.changed().await.ok()?;
        }
        let status = self.pool.device_status(&self.user, &self.device).await;
        if let Ok(status) = &status {
            let device = DeviceKey::new(self.user.clone(), self.device.clone());
            let watches = &self.pool.inner.watches;
            watches.tell(&device, signature_of(status), &mut self.changes);
        }
        Some(status)
    }
}

impl KeyPackagePool {
    /// Watches a device's pool, which need not exist yet.
    ///
    /// # Errors
    /// If too many pools are watched, or the service stops.
    pub async fn watch(&self, user: UserId, device: DeviceId) -> Result<Watch, PoolError> {
        let key = DeviceKey::new(user.clone(), device.clone());
        let changes = self.inner.watches.subscribe(key.clone())?;
        // Changes count from here on, not from the next round.
        self.inner.look_at(std::slice::from_ref(&key)).await?;
        Ok(Watch { pool: self.clone(), user, device, changes, first: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool of which so many packages are spent.
    fn state(spent: u64) -> Signature {
        vec![(CipherSuite(1), Health::Healthy, spent, None)]
    }

    #[test]
    fn what_was_before_what_a_watcher_was_told_is_a_change() {
        let ids = (UserId::new("bob").unwrap(), DeviceId::new("phone").unwrap());
        let device = DeviceKey::new(ids.0, ids.1);
        let watches = Watches::new(1);
        let mut changes = watches.subscribe(device.clone()).unwrap();
        let seen = |state, changes: &mut watch::Receiver<u64>| {
            watches.compare(&device, state);
            let changed = changes.has_changed().unwrap();
            changes.mark_unchanged();
            changed
        };
        assert!(!seen(state(0), &mut changes));
        assert!(seen(state(1), &mut changes));
        // Until it reads the status, there is more to tell: and that passes, so that the next round sees what the last one saw.
        watches.tell(&device, state(2), &mut changes);
        assert!(!changes.has_changed().unwrap(), "it knows");
        assert!(seen(state(1), &mut changes));
        assert!(!seen(state(1), &mut changes));
    }
}
