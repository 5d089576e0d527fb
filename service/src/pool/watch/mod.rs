//! Tells watchers when a pool's health changed, its last-resort package was used, or a package was spent.
//!
//! Each replica reads what its watchers care about: of all watched devices each second, and of those that it changed itself
//! at once, at most once a second. So it works across replicas without a NOTIFY, which would make commits take turns.

mod rounds;
mod watched;

pub(super) use rounds::follow;
pub(super) use watched::Watches;

use super::{CipherSuiteStatus, DeviceStatus, Health, Inner, KeyPackagePool, PoolError};
use crate::{
    store::{DeviceKey, StoreError, WatchRow},
    types::{CipherSuite, DeviceId, KeyPackageRef, UserId},
};
use std::collections::HashMap;
use watched::Subscription;

/// What watchers of a device are told about; they are told when it changes.
type Signature = Vec<(CipherSuite, Health, u64, Option<(KeyPackageRef, u64)>)>;

impl Inner {
    /// Reads watched devices in one statement, and tells watchers of those that changed.
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
    subscription: Subscription,
    first: bool,
}

impl Watch {
    /// The status now, the first time; then the status after the next change. None once the service stops.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn next(&mut self) -> Option<Result<DeviceStatus, PoolError>> {
        if std::mem::take(&mut self.first) {
            self.subscription.mark_told();
        } else {
            self.subscription.changed().await?;
        }
        let DeviceKey { user, device, .. } = self.subscription.device();
        let status = self.pool.device_status(user, device).await;
        if let Ok(status) = &status {
            self.subscription.told(signature_of(status));
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
        let key = DeviceKey::new(user, device);
        let subscription = Watches::subscribe(&self.inner.watches, key.clone())?;
        // Changes count from here on, not from the next round.
        self.inner.look_at(std::slice::from_ref(&key)).await?;
        Ok(Watch { pool: self.clone(), subscription, first: true })
    }
}
