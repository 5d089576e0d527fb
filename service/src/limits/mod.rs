//! How often a caller may ask, so that nobody drains another's pool.
//!
//! Each replica counts for itself, in bounded memory: with n replicas a caller may get up to n times a rate. The number of
//! live holds is the one limit that all replicas count together, in the database.

mod buckets;
mod budget;
mod calls;
mod in_flight;
mod max_holds;
mod rate;

pub use buckets::{Buckets, CallTokens, Tokens};
pub use budget::{Budget, Charge, Exceeded, Payer};
pub use calls::CallLimits;
pub use in_flight::{InFlight, InFlightPermit, TooMany};
pub use max_holds::MaxHolds;
pub use rate::Rate;

use crate::{
    security::Event,
    store::DeviceKey,
    telemetry::catalogue,
    types::{Holder, UserId},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::hash::Hash;

/// How many callers or devices each rate remembers. The one that was not seen for the longest time is forgotten first,
/// and begins anew.
const REMEMBERED: usize = 100_000;

/// How much more a package counts that could not be spent, released or extended.
const REFUSED_CHANGE: usize = 20;

/// The rates.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Targets that one holder may reserve packages of.
    pub holder: Rate,
    /// Packages of one device that one holder may be handed.
    pub holder_and_device: Rate,
    /// One-time packages of one device that one holder gets with priority: they count apart from what others get, and may be the
    /// last of the pool.
    pub fair_share: Rate,
    /// Packages of one of its own devices that a user may be handed, instead of `holder_and_device` and `device`: a device that
    /// is new joins all groups of its user at once.
    pub own_devices: Rate,
    /// One-time packages of one device that all limited holders together may be handed, and as many again within their fair
    /// shares. Beyond it they get its last-resort package.
    pub device: Rate,
    /// Packages that one holder may report as unusable. Beyond it they are given back, and the reports are dropped.
    pub reports: Rate,
    /// Targets that one holder asks for and that turn out to be unknown. A reserve is refused while fewer are left than it has targets.
    pub unknown: Rate,
    /// Packages that one holder spends, releases or extends. Each that it may not counts 20 more.
    pub hold_changes: Rate,
    /// Packages that may be added for one device.
    pub upload: Rate,
    /// What may be validated for one user, whatever comes of it: each package counts one, and one more for each 4 KiB.
    pub validation: Rate,
    /// Calls of one principal, of any kind. Back ends make any number.
    pub principal: Rate,
    /// Calls of one principal that are refused for what they ask, for each device that it proves to be by itself. When they are used
    /// up, every call of it is refused unread.
    pub refused: Rate,
}

impl Rates {
    /// No limits, as for measurements.
    pub const UNLIMITED: Self = Self {
        holder: Rate::UNLIMITED,
        holder_and_device: Rate::UNLIMITED,
        fair_share: Rate::UNLIMITED,
        own_devices: Rate::UNLIMITED,
        device: Rate::UNLIMITED,
        reports: Rate::UNLIMITED,
        unknown: Rate::UNLIMITED,
        hold_changes: Rate::UNLIMITED,
        upload: Rate::UNLIMITED,
        validation: Rate::UNLIMITED,
        principal: Rate::UNLIMITED,
        refused: Rate::UNLIMITED,
    };
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            holder: Rate::new(1000, SignedDuration::from_millis(100)),
            holder_and_device: Rate::new(16, SignedDuration::from_secs(30)),
            fair_share: Rate::new(1, SignedDuration::from_hours(1)),
            own_devices: Rate::new(128, SignedDuration::from_secs(5)),
            device: Rate::new(24, SignedDuration::from_secs(10)),
            reports: Rate::new(16, SignedDuration::from_mins(1)),
            // Twice the targets of the largest call: one call of mistyped ids keeps no other from being made.
            unknown: Rate::new(200, SignedDuration::from_secs(30)),
            // Four times `holder`: each package is spent or released, and extended three times.
            hold_changes: Rate::new(4000, SignedDuration::from_millis(25)),
            upload: Rate::new(400, SignedDuration::from_secs(5)),
            validation: Rate::new(2000, SignedDuration::from_millis(500)),
            // Those of `holder` and `hold_changes`, if each call has one target or package.
            principal: Rate::new(5000, SignedDuration::from_millis(10)),
            refused: Rate::new(100, SignedDuration::from_millis(500)),
        }
    }
}

/// A limit, as metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The rate of a holder.
    Holder,
    /// The rate of a holder on a device.
    HolderAndDevice,
    /// The fair share of a holder in a device's packages.
    FairShare,
    /// The rate of a user on one of its own devices.
    OwnDevices,
    /// The rate of a device, whoever asks.
    Device,
    /// The rate of a holder's reports.
    Reports,
    /// The rate of targets of a holder that are unknown.
    Unknown,
    /// The live holds of a holder on a device.
    Holds,
    /// The rate of a holder's spends, releases and extends.
    HoldChanges,
    /// The rate of uploads for a device.
    Upload,
    /// The rate of validations for a user.
    Validation,
    /// The rate of calls of a principal.
    Principal,
    /// The rate of calls of a principal that are refused.
    Refused,
    /// The calls of a principal at the same time.
    Calls,
    /// The memory of a principal's calls.
    Memory,
    /// The watches at the same time.
    Watches(WatchLimit),
}

/// A limit of watches, as callers and metrics are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchLimit {
    /// Those of a replica.
    Replica,
    /// Those of a principal.
    Principal,
    /// Those of a connection, where other streams that go on count as well.
    Connection,
}

/// A limit that was hit, and how long to wait before it allows what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// The limit.
    pub limit: Limit,
    /// How long to wait. Positive.
    pub wait: SignedDuration,
}

impl Limited {
    /// The one that has to be waited out for longer.
    #[must_use]
    pub fn longer(self, other: Self) -> Self {
        if other.wait > self.wait { other } else { self }
    }
}

impl Limit {
    /// Its name in metrics and, except for watches, in errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Holder => "holder",
            Self::HolderAndDevice => "holder_and_device",
            Self::FairShare => "fair_share",
            Self::OwnDevices => "own_devices",
            Self::Device => "device",
            Self::Reports => "reports",
            Self::Unknown => "unknown",
            Self::Holds => "holds",
            Self::HoldChanges => "hold_changes",
            Self::Upload => "upload",
            Self::Validation => "validation",
            Self::Principal => "principal",
            Self::Refused => "refused",
            Self::Calls => "calls",
            Self::Memory => "memory",
            Self::Watches(WatchLimit::Replica) => "replica_watches",
            Self::Watches(WatchLimit::Principal) => "watches",
            Self::Watches(WatchLimit::Connection) => "connection_watches",
        }
    }

    /// Counts that it was hit.
    pub fn hit(self) {
        catalogue::LIMITED.count([self.name()]);
        Event::RateLimited.count();
    }
}

/// The limits of a replica, with what has been used of them.
#[derive(Debug)]
pub struct Limits {
    holder: Buckets,
    holder_and_device: Buckets,
    fair_share: Buckets,
    own_devices: Buckets,
    device: Buckets,
    reports: Buckets,
    unknown: Buckets,
    hold_changes: Buckets,
    upload: Buckets,
    validation: Buckets,
}

impl Limits {
    /// Nothing is used yet.
    #[must_use]
    pub fn new(rates: &Rates) -> Self {
        let buckets = |rate| Buckets::new(rate, REMEMBERED);
        Self {
            holder: buckets(rates.holder),
            holder_and_device: buckets(rates.holder_and_device),
            fair_share: buckets(rates.fair_share),
            own_devices: buckets(rates.own_devices),
            device: buckets(rates.device),
            reports: buckets(rates.reports),
            unknown: buckets(rates.unknown),
            hold_changes: buckets(rates.hold_changes),
            upload: buckets(rates.upload),
            validation: buckets(rates.validation),
        }
    }

    /// Lets a holder reserve packages of so many targets.
    ///
    /// # Errors
    /// If it asks too often.
    pub fn reserve(
        &self,
        holder: &Holder,
        targets: usize,
        now: Timestamp,
    ) -> Result<CallTokens, Limited> {
        take(&self.holder, Limit::Holder, holder, targets, now)
            .map(CallTokens::from)
            .inspect_err(|limited| limited.limit.hit())
    }

    /// Lets a holder learn of so many targets whether they are known: all of them could be unknown. Takes nothing.
    ///
    /// # Errors
    /// If it has asked for too many that were unknown.
    pub fn may_learn(
        &self,
        holder: &Holder,
        targets: usize,
        now: Timestamp,
    ) -> Result<(), Limited> {
        self.learn(holder, targets, 0, now)
    }

    /// Charges a holder for those of its targets that are unknown, before it is told.
    ///
    /// # Errors
    /// If it has asked for too many that were unknown, by other calls since it [may](Self::may_learn): then it must not be
    /// told anything about any of its targets.
    pub fn learn(
        &self,
        holder: &Holder,
        targets: usize,
        unknown: usize,
        now: Timestamp,
    ) -> Result<(), Limited> {
        let limited = |wait| Limited { limit: Limit::Unknown, wait };
        let taken = self.unknown.take_of(holder, targets, unknown, now).map_err(limited);
        taken.map(Tokens::used).inspect_err(|limited| limited.limit.hit())
    }

    /// Lets a holder spend, release or extend so many packages.
    ///
    /// # Errors
    /// If there were too many.
    pub fn change_holds(
        &self,
        holder: &Holder,
        packages: usize,
        now: Timestamp,
    ) -> Result<CallTokens, Limited> {
        take(&self.hold_changes, Limit::HoldChanges, holder, packages, now)
            .map(CallTokens::from)
            .inspect_err(|limited| limited.limit.hit())
    }

    /// Charges a holder for packages that it could not spend, release or extend: whoever tries refs has few tries.
    pub fn refused_changes(&self, holder: &Holder, packages: usize, now: Timestamp) {
        self.hold_changes.drain(holder, REFUSED_CHANGE * packages, now);
    }

    /// Lets packages of a user be validated, which costs so much.
    ///
    /// # Errors
    /// If there were too many.
    pub fn validation(
        &self,
        user: &UserId,
        cost: usize,
        now: Timestamp,
    ) -> Result<CallTokens, Limited> {
        take(&self.validation, Limit::Validation, user, cost, now)
            .map(CallTokens::from)
            .inspect_err(|limited| limited.limit.hit())
    }

    /// Lets so many packages be added for a device.
    ///
    /// # Errors
    /// If there were too many.
    pub fn upload(
        &self,
        device: &DeviceKey,
        packages: usize,
        now: Timestamp,
    ) -> Result<CallTokens, Limited> {
        take(&self.upload, Limit::Upload, device, packages, now)
            .map(CallTokens::from)
            .inspect_err(|limited| limited.limit.hit())
    }

    /// Lets a holder be handed a package of a device, one-time or last resort.
    ///
    /// # Errors
    /// If it was handed too many of them.
    pub fn hand_out(
        &self,
        holder: &Holder,
        device: &DeviceKey,
        now: Timestamp,
    ) -> Result<Tokens, Limited> {
        if holder.is(&device.user) {
            return take(&self.own_devices, Limit::OwnDevices, device, 1, now);
        }
        take(&self.holder_and_device, Limit::HolderAndDevice, &(holder, device), 1, now)
    }

    /// Lets a holder be handed a one-time package of a device with priority, as it always is one of its own user's devices.
    ///
    /// # Errors
    /// If it had its fair share lately.
    pub fn fair_share(
        &self,
        holder: &Holder,
        device: &DeviceKey,
        now: Timestamp,
    ) -> Result<Option<Tokens>, Limited> {
        if holder.is(&device.user) {
            return Ok(None);
        }
        take(&self.fair_share, Limit::FairShare, &(holder, device), 1, now).map(Some)
    }

    /// Lets a holder be handed a one-time package of a device. Those of fair shares are counted by themselves, and those of its own
    /// user's devices not at all.
    ///
    /// # Errors
    /// If too many of them were handed out.
    pub fn one_time(
        &self,
        holder: &Holder,
        device: &DeviceKey,
        of_fair_share: bool,
        now: Timestamp,
    ) -> Result<Option<Tokens>, Limited> {
        if holder.is(&device.user) {
            return Ok(None);
        }
        take(&self.device, Limit::Device, &(device, of_fair_share), 1, now).map(Some)
    }

    /// Notes that a holder has given back a package of a device, which others may be handed now: it may be handed another instead.
    pub fn given_back(&self, holder: &Holder, device: &DeviceKey) {
        if holder.is(&device.user) {
            return self.own_devices.put_back(device, 1);
        }
        self.holder_and_device.put_back(&(holder, device), 1);
    }

    /// Lets a holder report a package as unusable.
    ///
    /// # Errors
    /// If it has reported too many.
    pub fn report(&self, holder: &Holder, now: Timestamp) -> Result<Tokens, Limited> {
        take(&self.reports, Limit::Reports, holder, 1, now)
            .inspect_err(|limited| limited.limit.hit())
    }
}

fn take(
    buckets: &Buckets,
    limit: Limit,
    key: &impl Hash,
    tokens: usize,
    now: Timestamp,
) -> Result<Tokens, Limited> {
    buckets.take(key, tokens, now).map_err(|wait| Limited { limit, wait })
}
