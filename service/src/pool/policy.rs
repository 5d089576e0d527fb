use super::{Caller, validation::ValidationPolicy};
use crate::{
    lane::LaneOptions,
    limits::{MaxHolds, Rates},
    types::ReturnedTo,
};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// The numbers that the rules of the pool go by.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How many one-time packages of each cipher suite a device should have.
    pub target: u32,
    /// A pool with fewer available one-time packages is low.
    pub low_watermark: u32,
    /// How many one-time packages of each cipher suite a device may have.
    pub cap: u32,
    /// How many bytes the packages of a user may have: those in its pools, and superseded last-resort packages that still have theirs.
    pub max_bytes_per_user: u64,
    /// How many devices a user may have, of those that have uploaded within the longest lifetime of a package.
    pub max_devices: u32,
    /// Whether limited callers are told the same of unknown users and devices as of empty pools.
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
    /// How long a spent package keeps its bytes, for a reserve that is repeated.
    pub keep_spent: SignedDuration,
    /// How long an expired package is still counted and known.
    pub keep_expired: SignedDuration,
    /// How long an entry of the spend log is kept.
    pub spend_log_retention: SignedDuration,
    /// How many live holds one holder may have on one device.
    pub max_holds: MaxHolds,
    /// How many calls may wait for the database; any further one is refused at once.
    pub max_calls_in_flight: usize,
    /// How many pools may be watched at the same time.
    pub max_watches: usize,
    /// Whether a standby that takes over has all that was acknowledged, so that a promotion quarantines nothing.
    pub synchronous_standbys: bool,
    /// How often holders may ask, and devices may be asked for.
    pub rates: Rates,
    /// How calls are gathered.
    pub lanes: LaneOptions,
    /// What an uploaded package must satisfy. Its `min_remaining` holds at hand-out too.
    pub validation: ValidationPolicy,
}

/// Who may be handed a package again that was seen and not spent, by the role of the caller that had it reserved. It knows the
/// package, and may have invited with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReturnedPackages {
    /// After a back end, and after anybody where callers don't have to prove who they are.
    pub backend: ReturnedTo,
    /// After an inviter.
    pub inviter: ReturnedTo,
}

impl ReturnedPackages {
    /// Who may be handed a package that this caller has seen.
    #[must_use]
    pub fn after(self, caller: &Caller) -> ReturnedTo {
        if caller.is_backend { self.backend } else { self.inviter }
    }
}

impl Default for ReturnedPackages {
    fn default() -> Self {
        Self { backend: ReturnedTo::Anyone, inviter: ReturnedTo::SameHolder }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            target: 32,
            low_watermark: 8,
            cap: 64,
            max_bytes_per_user: 32 * 1024 * 1024,
            max_devices: 100,
            hide_unknown: false,
            default_hold: SignedDuration::from_secs(60),
            min_hold: SignedDuration::from_secs(1),
            max_hold: SignedDuration::from_mins(10),
            max_total_hold: SignedDuration::from_hours(1),
            returned_packages: ReturnedPackages::default(),
            expiring_soon: SignedDuration::from_hours(48),
            revocation_grace: SignedDuration::from_hours(24),
            keep_spent: SignedDuration::from_hours(1),
            keep_expired: SignedDuration::from_hours(24),
            spend_log_retention: SignedDuration::from_hours(90 * 24),
            max_holds: MaxHolds { of_others: 8, of_own_devices: 128 },
            max_calls_in_flight: 4096,
            max_watches: 10_000,
            synchronous_standbys: false,
            rates: Rates::default(),
            lanes: LaneOptions::default(),
            validation: ValidationPolicy::default(),
        }
    }
}
