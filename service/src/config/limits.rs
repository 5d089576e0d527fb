use crate::{limits::Rates, pool::Policy};
use serde::{Deserialize, Serialize};

/// How much one caller, and all of them, may ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// How many live holds one holder may have on one device.
    pub holds_per_holder_and_device: u32,
    /// How many calls may wait for the database; any further one is refused at once.
    pub calls_in_flight: usize,
    /// How many pools may be watched at the same time.
    pub watches: usize,
    /// How many calls one principal may have under way at the same time. Back ends, which stand for many, may have any
    /// number.
    pub calls_per_principal: usize,
    /// How many pools one principal may watch at the same time. Back ends may watch any number.
    pub watches_per_principal: usize,
    /// How often holders may ask, and devices may be asked for.
    pub rates: Rates,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            holds_per_holder_and_device: policy.max_holds_per_device,
            calls_in_flight: policy.max_calls_in_flight,
            watches: policy.max_watches,
            calls_per_principal: 64,
            watches_per_principal: 16,
            rates: policy.rates,
        }
    }
}
