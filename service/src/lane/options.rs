use serde::{Deserialize, Serialize};

/// How many lanes there are, and how much each takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaneOptions {
    /// Lanes for reserves, each with a connection to the database.
    pub reserve: usize,
    /// Lanes for what is done to holds: spend, release, extend.
    pub hold: usize,
    /// Lanes for uploads.
    pub upload: usize,
    /// The most packages that one statement deals with.
    pub batch_packages: usize,
    /// The most packages that may wait in one lane; a call beyond is refused as OVERLOADED.
    pub queue_packages: usize,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self { reserve: 2, hold: 1, upload: 1, batch_packages: 256, queue_packages: 8192 }
    }
}
