//! What the database has in the end.

use super::{Device, Micros, Package, Reservation};
use serde::{Deserialize, Serialize};

/// What the database has in the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Books {
    /// When it was read; 0 if it could not be.
    pub(crate) read_at: Micros,
    /// Every package that is known, tombstones included.
    pub(crate) known: Vec<Known>,
    /// One-time packages that are available or held.
    pub(crate) one_time: Vec<Package>,
    /// One-time packages that were revoked.
    pub(crate) revoked: Vec<Package>,
    /// Who was handed what for good.
    pub(crate) spend_log: Vec<Entry>,
    /// What was counted.
    pub(crate) pools: Vec<Pool>,
    /// Why the service took the database for one that went back: once for each restore, and never else.
    #[serde(default)]
    pub(crate) fences: Vec<String>,
    /// Rows that nobody in the history can have asked for.
    pub(crate) foreign: Vec<String>,
}

impl Books {
    /// Whether they could be read.
    pub(crate) fn were_read(&self) -> bool {
        self.read_at > Micros::default()
    }
}

/// A package that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Whose.
    pub(crate) device: Device,
    /// It.
    pub(crate) package: Package,
    /// Its cipher suite.
    pub(crate) suite: u16,
    /// Whether it is for last resort.
    pub(crate) last_resort: bool,
}

/// An entry of the spend log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Whose package.
    pub(crate) device: Device,
    /// Which.
    pub(crate) package: Package,
    /// Its cipher suite.
    pub(crate) suite: u16,
    /// Under which reservation.
    pub(crate) reservation: Reservation,
    /// Whether for the reservation's group.
    pub(crate) own_group: bool,
    /// Whether it is for last resort.
    pub(crate) last_resort: bool,
    /// Whether it is spent; else it was merely handed out.
    pub(crate) spent: bool,
}

/// What was counted of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pool {
    /// Whose.
    pub(crate) device: Device,
    /// Of which cipher suite.
    pub(crate) suite: u16,
    /// One-time packages that were accepted.
    pub(crate) accepted: i64,
    /// Those of them that were forgotten since.
    pub(crate) purged: i64,
}
