//! Which devices are watched, what their watchers know, and which of them were touched.

use super::Signature;
use crate::{pool::PoolError, store::DeviceKey};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, watch};

/// Into how many parts the watched devices are divided, so that calls about different devices don't wait for one lock.
const SHARDS: usize = 64;

type Shard = HashMap<DeviceKey, Device>;

/// A device with at least one watcher.
#[derive(Debug)]
struct Device {
    watchers: usize,
    signature: Option<Signature>,
    changes: watch::Sender<u64>,
}

/// The devices that are watched. Nothing that is done for one watch or one change takes longer the more watches there are.
#[derive(Debug)]
pub(in crate::pool) struct Watches {
    limit: usize,
    /// One permit for each watch that there may be; closed once watches are.
    places: Arc<Semaphore>,
    shards: Vec<Mutex<Shard>>,
    touched: Mutex<HashSet<DeviceKey>>,
    pub(super) wake: Notify,
}

impl Watches {
    pub(in crate::pool) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self {
            limit,
            places: Arc::new(Semaphore::new(limit)),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            touched: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Whether nothing is watched. Takes no lock.
    pub(in crate::pool) fn is_empty(&self) -> bool {
        self.places.available_permits() == self.limit
    }

    /// Has a device read soon, if it is watched.
    pub(in crate::pool) fn touch(&self, device: &DeviceKey) {
        if self.is_empty() || !self.shard(device).contains_key(device) {
            return;
        }
        let mut touched = lock(&self.touched);
        if !touched.contains(device) {
            touched.insert(device.clone());
            drop(touched);
            self.wake.notify_one();
        }
    }

    /// Ends every watch, and refuses new ones.
    pub(in crate::pool) fn close(&self) {
        self.places.close();
        for shard in &self.shards {
            lock(shard).clear();
        }
        self.wake.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.places.is_closed()
    }

    pub(super) fn subscribe(
        watches: &Arc<Self>,
        device: DeviceKey,
    ) -> Result<Subscription, PoolError> {
        let place = watches.places.clone().try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => PoolError::TooManyWatches,
            TryAcquireError::Closed => PoolError::ShuttingDown,
        })?;
        let mut shard = watches.shard(&device);
        // Asked under the lock that `close` takes afterwards.
        if watches.is_closed() {
            return Err(PoolError::ShuttingDown);
        }
        let watched = shard.entry(device.clone()).or_insert_with(|| Device {
            watchers: 0,
            signature: None,
            changes: watch::Sender::new(0),
        });
        watched.watchers += 1;
        let changes = watched.changes.subscribe();
        drop(shard);
        Ok(Subscription { watches: watches.clone(), device, changes, _place: place })
    }

    /// All watched devices, for a reading of them: so none is touched any more.
    pub(super) fn take_all(&self) -> Vec<DeviceKey> {
        lock(&self.touched).clear();
        self.shards
            .iter()
            .flat_map(|shard| lock(shard).keys().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// The devices that were touched since the last reading of them.
    pub(super) fn take_touched(&self) -> Vec<DeviceKey> {
        std::mem::take(&mut *lock(&self.touched)).into_iter().collect()
    }

    /// Takes notice of a device's state, and tells watchers if it differs from the last one.
    pub(super) fn compare(&self, device: &DeviceKey, signature: Signature) {
        if let Some(watched) = self.shard(device).get_mut(device) {
            if watched.signature.as_ref().is_some_and(|before| *before != signature) {
                watched.changes.send_modify(|change| *change += 1);
            }
            watched.signature = Some(signature);
        }
    }

    fn shard(&self, device: &DeviceKey) -> MutexGuard<'_, Shard> {
        let number = usize::from(device.bucket.number().unsigned_abs()) % SHARDS;
        lock(&self.shards[number])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one assignment: a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One watcher of a device, until it is dropped.
#[derive(Debug)]
pub(super) struct Subscription {
    watches: Arc<Watches>,
    device: DeviceKey,
    changes: watch::Receiver<u64>,
    _place: OwnedSemaphorePermit,
}

impl Subscription {
    pub(super) fn device(&self) -> &DeviceKey {
        &self.device
    }

    /// Waits for a change that the watcher was not told yet. None once watches are closed.
    pub(super) async fn changed(&mut self) -> Option<()> {
        self.changes.changed().await.ok()
    }

    /// The watcher is about to be told all that happened so far.
    pub(super) fn mark_told(&mut self) {
        self.changes.mark_unchanged();
    }

    /// The watcher is told this state, which is newer than the one that was compared last. Whatever differs from it is a
    /// change, the state before it included.
    pub(super) fn told(&mut self, signature: Signature) {
        let mut shard = self.watches.shard(&self.device);
        let Some(watched) = shard.get_mut(&self.device) else { return };
        if watched.signature.as_ref() != Some(&signature) {
            watched.changes.send_modify(|change| *change += 1);
            self.changes.mark_unchanged();
            watched.signature = Some(signature);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut shard = self.watches.shard(&self.device);
        if let Some(watched) = shard.get_mut(&self.device) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                shard.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pool::Health,
        types::{CipherSuite, DeviceId, UserId},
    };

    /// A pool of which so many packages are spent.
    fn state(spent: u64) -> Signature {
        vec![(CipherSuite(1), Health::Healthy, spent, None)]
    }

    fn device(user: &str) -> DeviceKey {
        DeviceKey::new(UserId::new(user).unwrap(), DeviceId::new("phone").unwrap())
    }

    #[test]
    fn what_was_before_what_a_watcher_was_told_is_a_change() {
        let watches = Arc::new(Watches::new(1));
        let mut watch = Watches::subscribe(&watches, device("bob")).unwrap();
        let seen = |state, watch: &mut Subscription| {
            watches.compare(&device("bob"), state);
            let changed = watch.changes.has_changed().unwrap();
            watch.mark_told();
            changed
        };
        assert!(!seen(state(0), &mut watch));
        assert!(seen(state(1), &mut watch));
        // Until it reads the status, there is more to tell: and that passes, so that the next round sees what the last one saw.
        watch.told(state(2));
        assert!(!watch.changes.has_changed().unwrap(), "it knows");
        assert!(seen(state(1), &mut watch));
        assert!(!seen(state(1), &mut watch));
    }

    #[test]
    fn only_watched_devices_are_touched_each_once() {
        let watches = Arc::new(Watches::new(10));
        let watch = Watches::subscribe(&watches, device("bob")).unwrap();
        for user in ["bob", "carol", "bob"] {
            watches.touch(&device(user));
        }
        assert_eq!(watches.take_touched(), [device("bob")]);
        assert!(watches.take_touched().is_empty());

        watches.touch(&device("bob"));
        assert_eq!(watches.take_all(), [device("bob")]);
        assert!(watches.take_touched().is_empty(), "it was read with all");
        drop(watch);
        watches.touch(&device("bob"));
        assert!(watches.take_touched().is_empty());
    }

    #[test]
    fn a_device_is_watched_until_its_last_watcher_is_gone() {
        let watches = Arc::new(Watches::new(2));
        let first = Watches::subscribe(&watches, device("bob")).unwrap();
        let second = Watches::subscribe(&watches, device("bob")).unwrap();
        let refused = Watches::subscribe(&watches, device("carol")).err();
        assert!(matches!(refused, Some(PoolError::TooManyWatches)), "{refused:?}");
        drop(first);
        assert_eq!(watches.take_all(), [device("bob")]);
        drop(second);
        assert!(watches.take_all().is_empty());
        let _room = [(); 2].map(|()| Watches::subscribe(&watches, device("carol")).unwrap());
    }

    #[test]
    fn closed_watches_stay_closed() {
        let watches = Arc::new(Watches::new(1));
        let mut watch = Watches::subscribe(&watches, device("bob")).unwrap();
        watches.close();
        assert!(watch.changes.has_changed().is_err());
        watch.told(state(1));
        drop(watch);
        let refused = Watches::subscribe(&watches, device("bob")).err();
        assert!(matches!(refused, Some(PoolError::ShuttingDown)), "{refused:?}");
    }
}
