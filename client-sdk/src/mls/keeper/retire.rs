//! Deleting private keys, and forgetting packages.

use std::ops::Deref;
use std::time::Duration;

use openmls::storage::OpenMlsProvider;
use openmls_traits::signatures::Signer;

use super::super::store::{PackageState, PoolRecord};
use super::refresh::Refresh;
use super::{RefreshError, keys, other_install};

/// Longer than another process of this device takes from a record to its private keys.
const UNDER_WAY: Duration = Duration::from_secs(10 * 60);

/// How long a record stays after its package has come to its end.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

impl<P, S> Refresh<'_, P, S>
where
    P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
    S: Deref<Target: Signer + Sized>,
{
    /// Draws the conclusions that need no answer of the service.
    pub(super) fn sort_out(&mut self) -> Result<(), RefreshError> {
        let spent_grace = self.keeper.settings.spent_grace;
        let ancient = self.books.refs(|record| self.has_passed(record.not_after, spent_grace));
        self.delete_keys(&ancient)?;
        self.books.forget(&ancient)?;

        let keyless = self.books.refs(|record| !self.books.has_key(record));
        let (ended, live): (Vec<_>, Vec<_>) = keyless
            .into_iter()
            .partition(|one| self.books.get(one).is_some_and(|record| !record.state.is_pooled()));
        for key_package_ref in live {
            // OpenMLS deletes the private keys when it joins the Welcome, but for a last resort.
            let last_resort = self.books.get(&key_package_ref).is_some_and(|one| one.last_resort);
            let state = if last_resort { PackageState::Revoked } else { PackageState::Spent };
            self.books.set_state(&key_package_ref, state);
        }
        self.books.save()?;
        let forgettable: Vec<_> = ended
            .into_iter()
            .filter(|one| self.books.get(one).is_some_and(|record| self.is_forgettable(record)))
            .collect();
        self.books.forget(&forgettable)
    }

    /// Of a package without private keys that is not in the pool.
    fn is_forgettable(&self, record: &PoolRecord) -> bool {
        match record.state {
            // It was never uploaded.
            PackageState::Created => self.has_passed(record.created_at, UNDER_WAY),
            PackageState::Foreign => self.has_passed(record.created_at, other_install::REMEMBERED),
            _ => self.has_passed(record.changed_at, REMEMBERED),
        }
    }

    /// Deletes the private keys of packages that the service, in this refresh, said nobody gets.
    pub(super) fn delete_settled_keys(&mut self) -> Result<(), RefreshError> {
        let settled = self.books.refs(|record| {
            self.settled.contains(&record.key_package_ref)
                && self.books.has_key(record)
                && self.grace_is_over(record)
        });
        self.delete_keys(&settled)
    }

    /// Whether the private keys of an unspent package that has come to its end are of no use to
    /// anybody any more.
    pub(super) fn grace_is_over(&self, record: &PoolRecord) -> bool {
        let grace = self.keeper.settings.revoked_grace;
        match record.state {
            PackageState::Revoked => self.has_passed(record.changed_at, grace),
            PackageState::Expired => {
                !record.last_resort || self.has_passed(record.not_after, grace)
            }
            PackageState::Failed => true,
            _ => false,
        }
    }

    pub(super) fn delete_keys(&mut self, key_package_refs: &[Vec<u8>]) -> Result<(), RefreshError> {
        for key_package_ref in key_package_refs {
            keys::delete(&**self.provider, key_package_ref).map_err(RefreshError::Storage)?;
            self.books.key_deleted(key_package_ref);
        }
        self.report.deleted.extend_from_slice(key_package_refs);
        Ok(())
    }
}
