//! How a keeper is.

use std::collections::BTreeMap;
use std::time::SystemTime;

use keypool_proto::v1::DevicePoolStatus;
#[cfg(doc)]
use keypool_proto::v1::RejectionReason;

use super::super::store::{PackageState, PoolRecord};
use super::{ClockOffset, KeeperProblem, RefreshError, Refreshed, Rejections};

/// How a keeper and its pool are. See [`PoolKeeper::status`](super::PoolKeeper::status).
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct KeeperStatus {
    /// How many packages the device remembers in each state, last resorts included. States without a
    /// package are left out.
    pub packages: BTreeMap<PackageState, usize>,
    /// When a refresh last succeeded, since the keeper exists.
    pub last_refresh: Option<SystemTime>,
    /// Why the last refresh failed, or else the [problems](Self::problems) that it left, in words. `None` if
    /// it succeeded and all is well.
    pub last_error: Option<String>,
    /// What kept the pool from being as it should be after the last refresh that found out. Empty if all was
    /// well.
    pub problems: Vec<KeeperProblem>,
    /// What the service rejected in that refresh, [`RejectionReason::PoolFull`] included, which is no problem
    /// where nothing lacks.
    pub rejected: Vec<Rejections>,
    /// How far the device's clock was from the service's when the service last told its time. `None` if it
    /// never did.
    pub clock_offset: Option<ClockOffset>,
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
        for record in records.iter().filter(|record| record.state != PackageState::Foreign) {
            *packages.entry(record.state).or_default() += 1;
        }
        Self {
            packages,
            last_refresh: shown.last_refresh,
            last_error: shown.last_error(),
            problems: shown.problems.clone(),
            rejected: shown.rejected.clone(),
            clock_offset: shown.clock_offset,
            pool: shown.pool.clone(),
            next_refresh: shown.next_refresh,
        }
    }

    /// Whether the last refresh succeeded and left no problem.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.last_refresh.is_some() && self.last_error.is_none()
    }
}

/// What a keeper shows of itself while a refresh is under way.
#[derive(Debug, Default)]
pub(super) struct Shown {
    last_refresh: Option<SystemTime>,
    error: Option<String>,
    problems: Vec<KeeperProblem>,
    rejected: Vec<Rejections>,
    clock_offset: Option<ClockOffset>,
    pub(super) pool: Option<DevicePoolStatus>,
    pub(super) next_refresh: Option<SystemTime>,
    /// When the used last resort that the last refresh let be is to be replaced.
    pub(super) last_resort_rests_until: Option<SystemTime>,
}

impl Shown {
    /// Shows what a refresh did, and how it ended.
    pub(super) fn refreshed(
        &mut self,
        report: &Refreshed,
        outcome: &Result<(), RefreshError>,
        now: SystemTime,
    ) {
        self.error = outcome.as_ref().err().map(ToString::to_string);
        self.clock_offset = report.clock_offset.or(self.clock_offset);
        if outcome.is_ok() {
            self.last_refresh = Some(now);
            self.pool.clone_from(&report.status);
        }
        // One that failed may not have come as far as finding out.
        if outcome.is_ok() || !report.rejected.is_empty() {
            self.tell_changes(&report.problems);
            self.problems.clone_from(&report.problems);
            self.rejected = report.rejections();
        }
    }

    /// Once, and not at each refresh.
    fn tell_changes(&self, problems: &[KeeperProblem]) {
        let is_new = |problem: &&KeeperProblem| {
            !self.problems.iter().any(|before| before.kind() == problem.kind())
        };
        for problem in problems.iter().filter(is_new) {
            tracing::warn!(%problem, "the pool is not as it should be");
        }
        if problems.is_empty() && !self.problems.is_empty() {
            tracing::info!("the pool is as it should be again");
        }
    }

    fn last_error(&self) -> Option<String> {
        let problems = || self.problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        self.error.clone().or_else(|| Some(problems().join("; ")).filter(|words| !words.is_empty()))
    }
}
