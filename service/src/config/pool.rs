use crate::pool::{Policy, ReturnedPackages};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// The rules of the pools.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// How many one-time packages of each cipher suite a device should have.
    pub target: u32,
    /// A pool with fewer available one-time packages is low. So many of each cipher suite are kept for holders that had none lately, so
    /// it must be less than `target` and `cap`, or 0.
    pub low_watermark: u32,
    /// How many one-time packages of each cipher suite a device may have.
    pub cap: u32,
    /// How many bytes the packages in a user's pools may have together, last-resort packages included. Uploads of several devices at
    /// the same moment, on several replicas, may exceed it by what they add.
    pub max_bytes_per_user: u64,
    /// How many devices a user may have, of those that have uploaded within `validation.max_lifetime`. Uploads at the same moment
    /// may exceed it by a few.
    pub max_devices: u32,
    /// Whether limited callers are told POOL_EXHAUSTED of every target of which nothing could be reserved, so that an unknown user
    /// or device looks like one whose pool is empty.
    pub hide_unknown: bool,
    /// How long a hold lasts if the request doesn't say.
    pub default_hold: SignedDuration,
    /// The shortest hold that a request may ask for.
    pub min_hold: SignedDuration,
    /// The longest hold that a request may ask for.
    pub max_hold: SignedDuration,
    /// The longest time in all that a one-time package is held for a reservation, however often the hold is prolonged.
    pub max_total_hold: SignedDuration,
    /// Who may be handed a package again that was seen and not spent.
    pub returned_packages: ReturnedPackages,
    /// Packages that expire within this time are counted as expiring soon.
    pub expiring_soon: SignedDuration,
    /// How long after its revocation a package may still be spent under an earlier hold.
    pub revocation_grace: SignedDuration,
    /// How long a spent package keeps its bytes, so that its reserve can be repeated. At least 30 s.
    pub keep_spent: SignedDuration,
    /// How long an expired package is still counted and known, so that it can't come back. At least 30 s.
    pub keep_expired: SignedDuration,
    /// How long an entry of the spend log is kept. At least 30 days.
    pub spend_log_retention: SignedDuration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            target: policy.target,
            low_watermark: policy.low_watermark,
            cap: policy.cap,
            max_bytes_per_user: policy.max_bytes_per_user,
            max_devices: policy.max_devices,
            hide_unknown: policy.hide_unknown,
            default_hold: policy.default_hold,
            min_hold: policy.min_hold,
            max_hold: policy.max_hold,
            max_total_hold: policy.max_total_hold,
            returned_packages: policy.returned_packages,
            expiring_soon: policy.expiring_soon,
            revocation_grace: policy.revocation_grace,
            keep_spent: policy.keep_spent,
            keep_expired: policy.keep_expired,
            spend_log_retention: policy.spend_log_retention,
        }
    }
}
