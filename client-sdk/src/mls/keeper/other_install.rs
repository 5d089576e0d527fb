//! Noticing that another install uses the same device id, and not fighting with it.
//!
//! The pool's last-resort package shows who has filled the pool last. If it is none of the device's, then
//! either the device was restored from a backup, and the package is its own from before; or another install
//! has uploaded it. A restored device sees that once, and replaces the package; so a keeper that sees it
//! again, or after it has filled the pool itself, tells of another install. Each such package is noted in
//! the store, in state [`Foreign`](PackageState::Foreign).

use std::ops::Deref;
use std::time::{Duration, SystemTime};

use keypool_proto::v1::LastResortStatus;
use openmls::storage::OpenMlsProvider;
use openmls_traits::signatures::Signer;

use super::super::store::{PackageState, PoolRecord};
use super::refresh::{Memory, Refresh};
use super::{RefreshError, keys};
use crate::package::to_time;

/// How long a foreign package is remembered, and another install told of.
pub(super) const REMEMBERED: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// How long a pool is left to the other install before it is taken over again: at first, and at most.
const FIRST_REST: Duration = Duration::from_secs(60 * 60);
const LONGEST_REST: Duration = Duration::from_secs(24 * 60 * 60);

/// Whose pool it is, by its last-resort packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// The device's, or nobody's.
    Own,
    /// Another install's, or that of the device before it was restored. It may be taken over now.
    Foreign,
    /// Another install's, to which it is left until then.
    LeftUntil(SystemTime),
}

impl<P, S> Refresh<'_, P, S>
where
    P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
    S: Deref<Target: Signer + Sized>,
{
    /// Notes foreign packages of the pool.
    pub(super) fn ownership(&mut self, memory: &mut Memory) -> Result<Ownership, RefreshError> {
        let last_resorts = self.report.status.iter().flat_map(|status| &status.pools);
        let last_resorts: Vec<_> =
            last_resorts.filter_map(|pool| pool.last_resort.clone()).collect();
        let mut foreign = Vec::new();
        for last_resort in last_resorts {
            if self.is_foreign(&last_resort.key_package_ref)? && !self.is_outdated(&last_resort) {
                foreign.push(last_resort.key_package_ref);
            }
        }
        let Some(first) = foreign.first() else {
            return Ok(Ownership::Own);
        };
        // Those of several cipher suites that came together count once.
        if foreign.iter().all(|one| self.books.get(one).is_none()) {
            self.note_foreign(first)?;
        }
        if memory.reconciled_at.is_some() {
            memory.contested_at = Some(self.now);
        }
        let newest = self.foreign().map(|record| record.created_at).max();
        let rest = newest.and_then(|at| at.checked_add(rest(self.foreign().count())));
        let is_sane = newest.is_some_and(|at| at <= self.now);
        Ok(match rest.filter(|until| is_sane && *until > self.now) {
            Some(until) => Ownership::LeftUntil(until),
            None => Ownership::Foreign,
        })
    }

    /// Notes packages that a reconcile took out of the pool and that the device never had.
    pub(super) fn note_replaced(&mut self) -> Result<(), RefreshError> {
        for key_package_ref in std::mem::take(&mut self.not_listed) {
            if self.is_foreign(&key_package_ref)? {
                return self.note_foreign(&key_package_ref);
            }
        }
        Ok(())
    }

    /// Whether there is another install, as far as can be told.
    pub(super) fn is_contested(&self, memory: &Memory) -> bool {
        let lately = |at: SystemTime| at <= self.now && !self.has_passed(at, REMEMBERED);
        self.foreign().count() >= 2 || memory.contested_at.is_some_and(lately)
    }

    /// Whether foreign packages were seen lately.
    pub(super) fn remembers_foreign(&self) -> bool {
        self.foreign().next().is_some()
    }

    fn foreign(&self) -> impl Iterator<Item = &PoolRecord> {
        self.books.iter().filter(|record| record.state == PackageState::Foreign)
    }

    /// One whose private keys are here is the device's, although it is not in the records: they are lost, or
    /// another process of this install has just made it.
    fn is_foreign(&self, key_package_ref: &[u8]) -> Result<bool, RefreshError> {
        if key_package_ref.is_empty() {
            return Ok(false);
        }
        if let Some(record) = self.books.get(key_package_ref) {
            return Ok(record.state == PackageState::Foreign);
        }
        let key = keys::load(&**self.provider, key_package_ref).map_err(RefreshError::Storage)?;
        Ok(key.is_none())
    }

    /// Whether it is a last resort from long before the device's own, that a service has again which was
    /// restored from a backup. The device has forgotten its own by then.
    fn is_outdated(&self, last_resort: &LastResortStatus) -> bool {
        let uploaded = to_time(last_resort.upload_time).ok().flatten();
        let own = self.books.iter().filter(|record| record.last_resort);
        let own = own.filter_map(|record| record.uploaded_at).max();
        match (uploaded, own) {
            (Some(uploaded), Some(own)) => {
                own.duration_since(uploaded).is_ok_and(|later| later > LONGEST_REST)
            }
            _ => false,
        }
    }

    fn note_foreign(&mut self, key_package_ref: &[u8]) -> Result<(), RefreshError> {
        let not_after = self.now.checked_add(REMEMBERED).unwrap_or(self.now);
        let mut record =
            PoolRecord::new(key_package_ref.to_vec(), 0, true, Vec::new(), self.now, not_after);
        record.state = PackageState::Foreign;
        self.books.insert(record);
        self.books.save()
    }
}

/// How long the pool is left to the other install, by how often it was lost lately.
fn rest(times: usize) -> Duration {
    match times {
        0 | 1 => Duration::ZERO,
        _ => {
            let doublings = u32::try_from(times - 2).unwrap_or(u32::MAX).min(16);
            FIRST_REST.saturating_mul(1 << doublings).min(LONGEST_REST)
        }
    }
}
