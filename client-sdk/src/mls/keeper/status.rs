//! How a keeper is.

use std::collections::BTreeMap;
use std::time::SystemTime;

use keypool_proto::v1::DevicePoolStatus;

use super::super::store::{PackageState, PoolRecord};

/// How a keeper and its pool are. See [`PoolKeeper::status`](super::PoolKeeper::status).
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct KeeperStatus {
    /// How many packages the device remembers in each state, last resorts included. States without a
    /// package are left out.
    pub packages: BTreeMap<PackageState, usize>,
    /// When a refresh last succeeded, since the keeper exists.
    pub last_refresh: Option<SystemTime>,
    /// Why the last refresh failed, in words. `None` if it succeeded.
    pub last_error: Option<String>,
    /// The pool as the service last described it. `None` if it never did, or if it did not know the
    /// device.
    pub pool: Option<DevicePoolStatus>,
    /// When the next refresh is due, if nothing happens before. `None` while no
    /// [`run`](super::PoolKeeper::run) waits for it.
    pub next_refresh: Option<SystemTime>,
}

impl KeeperStatus {
    pub(super) fn new(records: &[PoolRecord], shown: &Shown) -> Self {
        let mut packages = BTreeMap::new();
        for record in records {
            *packages.entry(record.state).or_default() += 1;
        }
        Self {
            packages,
            last_refresh: shown.last_refresh,
            last_error: shown.last_error.clone(),
            pool: shown.pool.clone(),
            next_refresh: shown.next_refresh,
        }
    }
}

/// What a keeper shows of itself while a refresh is under way.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) last_refresh: Option<SystemTime>,
    pub(super) last_error: Option<String>,
    pub(super) pool: Option<DevicePoolStatus>,
    pub(super) next_refresh: Option<SystemTime>,
    /// When the used last resort that the last refresh let be is to be replaced.
    pub(super) last_resort_rests_until: Option<SystemTime>,
}
