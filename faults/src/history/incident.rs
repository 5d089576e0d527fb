//! What the service did that no fault asked for, as a history remembers it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that the service did and no fault asked for, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Incident {
    /// A call, or a process that was to begin or to end, took for ever.
    Hang(String),
    /// A process ended by itself, or otherwise than it was to.
    Died(String),
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hang(what) | Self::Died(what) => f.write_str(what),
        }
    }
}
