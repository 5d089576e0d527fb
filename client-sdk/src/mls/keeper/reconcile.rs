//! Comparing the pool with the device's private keys.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Deref;
use std::time::{Duration, UNIX_EPOCH};

use keypool_proto::v1::{RejectionReason, UnavailableState};
use openmls::storage::OpenMlsProvider;
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::signatures::Signer;

use super::super::store::{PackageState, PoolRecord};
use super::refresh::{MAX_REFS_PER_CALL, Refresh, has_key};
use super::{RefreshError, credential, is_for_want_of_room, keys};
use crate::{Error, Reconciled};

/// What the service says of a package that the device has listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It can be handed out now.
    Available,
    /// It can't, and this is why.
    Unavailable(UnavailableState),
}

impl<P, S> Refresh<'_, P, S>
where
    P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
    S: Deref<Target: Signer + Sized>,
{
    /// Compares the pool with the records as they are after its status was read: what another process has uploaded since then is
    /// left alone, and what it had uploaded before is in the records.
    pub(super) async fn reconcile(&mut self) -> Result<(), RefreshError> {
        if self.report.status.is_none() {
            // That says nothing of what another process has recorded since: only older records are judged.
            return self.nothing_known(&self.listed());
        }
        let provider = &**self.provider;
        self.books.catch_up(|key_package_ref| has_key(provider, key_package_ref))?;
        let listed = self.listed();
        let settings = &self.keeper.settings;
        let (user_id, device_id) = (&settings.user_id, &settings.device_id);
        match self.keeper.client.reconcile(user_id, device_id, listed.clone(), self.read_at).await {
            Ok(reconciled) => self.apply(&listed, reconciled).await,
            Err(Error::UnknownUser(_) | Error::UnknownDevice(_)) => self.nothing_known(&listed),
            Err(error) => Err(RefreshError::Reconcile(error)),
        }
    }

    /// The service does not know the device, nor any of its packages.
    fn nothing_known(&mut self, listed: &[Vec<u8>]) -> Result<(), RefreshError> {
        for key_package_ref in listed {
            let unknown = Verdict::Unavailable(UnavailableState::Unknown);
            self.judge(key_package_ref, unknown);
        }
        self.books.save()
    }

    /// The packages whose private keys the device has. Not the spent ones: what becomes of them is
    /// known, and if a restored service takes one for unspent, leaving it out revokes it. Where there
    /// are too many, those that live longest are listed.
    fn listed(&self) -> Vec<Vec<u8>> {
        let is_listed = |record: &&PoolRecord| {
            self.books.has_key(record)
                && record.state != PackageState::Spent
                && !belongs_to_another_device(record)
        };
        let mut listed: Vec<_> = self.books.iter().filter(is_listed).collect();
        listed.sort_by_key(|record| Reverse((record.state.is_live(), record.not_after)));
        listed.truncate(MAX_REFS_PER_CALL);
        listed.into_iter().map(|record| record.key_package_ref.clone()).collect()
    }

    async fn apply(
        &mut self,
        listed: &[Vec<u8>],
        reconciled: Reconciled,
    ) -> Result<(), RefreshError> {
        let unavailable = reconciled.unavailable.iter();
        let unavailable: HashMap<_, _> =
            unavailable.map(|one| (&one.key_package_ref, one.state())).collect();
        let mut returned = Vec::new();
        for key_package_ref in listed {
            let state = unavailable.get(key_package_ref).copied();
            let verdict = state.map_or(Verdict::Available, Verdict::Unavailable);
            if self.judge(key_package_ref, verdict) {
                returned.push(key_package_ref.clone());
            }
        }
        for key_package_ref in &reconciled.revoked {
            self.lost(key_package_ref)?;
        }
        self.books.save()?;
        self.report.revoked.extend(reconciled.revoked);
        self.report.status = Some(reconciled.pool_status);
        if !returned.is_empty() {
            tracing::warn!(count = returned.len(), "revoked packages were in the pool again");
            self.revoke(returned).await?;
            self.fetch_status().await?;
        }
        Ok(())
    }

    /// Notes what the service says. Returns true for a revoked package that is in the pool again, as
    /// after a restore of the service.
    fn judge(&mut self, key_package_ref: &[u8], verdict: Verdict) -> bool {
        let Some(record) = self.books.get(key_package_ref) else { return false };
        let state = next_state(record, verdict, self.has_expired(record));
        let is_revoked = record.state == PackageState::Revoked;
        self.books.set_state(key_package_ref, state);
        match verdict {
            Verdict::Unavailable(
                UnavailableState::Unknown
                | UnavailableState::Expired
                | UnavailableState::Revoked
                | UnavailableState::Superseded,
            ) => {
                self.settled.insert(key_package_ref.to_vec());
                false
            }
            Verdict::Available
            | Verdict::Unavailable(UnavailableState::Reserved | UnavailableState::Returned) => {
                is_revoked
            }
            Verdict::Unavailable(_) => false,
        }
    }

    /// Notes that a package left the pool because it was not listed. If its private keys are there
    /// all the same, the record was lost: they are deleted in time like those of any revoked package.
    fn lost(&mut self, key_package_ref: &[u8]) -> Result<(), RefreshError> {
        if let Some(record) = self.books.get(key_package_ref) {
            if !matches!(record.state, PackageState::Spent | PackageState::Foreign) {
                self.books.set_state(key_package_ref, PackageState::Revoked);
            }
            return Ok(());
        }
        let provider = &**self.provider;
        let bundle = keys::load(provider, key_package_ref).map_err(RefreshError::Storage)?;
        let Some(bundle) = bundle else {
            self.not_listed.push(key_package_ref.to_vec());
            return Ok(());
        };
        let package = bundle.key_package();
        let leaf = package.leaf_node();
        let (credential, signature_key) = (leaf.credential(), leaf.signature_key());
        let credential_hash = credential::hash(credential, signature_key, provider.crypto());
        let not_after = Duration::from_secs(package.life_time().not_after());
        let not_after = UNIX_EPOCH.checked_add(not_after).unwrap_or(self.now);
        let mut record = PoolRecord::new(
            key_package_ref.to_vec(),
            package.ciphersuite().into(),
            package.last_resort(),
            credential_hash.map_err(RefreshError::Storage)?,
            self.now,
            not_after,
        );
        record.state = PackageState::Revoked;
        self.books.insert(record);
        self.books.key_written(key_package_ref);
        Ok(())
    }

    /// Whether the service has to be asked what became of a package before its private keys can be
    /// deleted.
    pub(super) fn needs_a_verdict(&self, record: &PoolRecord) -> bool {
        let may_go = match record.state {
            PackageState::Spent => false,
            PackageState::Failed => !belongs_to_another_device(record),
            state if state.is_live() => self.has_expired(record),
            _ => self.grace_is_over(record),
        };
        may_go && self.books.has_key(record)
    }
}

/// Under its former name, for example. Its private keys may be needed there.
fn belongs_to_another_device(record: &PoolRecord) -> bool {
    record.state == PackageState::Failed
        && record.rejection == Some(RejectionReason::BelongsToOtherDevice)
}

fn next_state(record: &PoolRecord, verdict: Verdict, has_expired: bool) -> PackageState {
    use PackageState::{Available, Created, Expired, Failed, Reserved, Revoked, Spent};
    match (verdict, record.state) {
        (Verdict::Unavailable(UnavailableState::Spent), _) => Spent,
        // Whatever else the service says: a revoked package is not to be relied on.
        (_, Revoked) => Revoked,
        (Verdict::Available, _) => Available,
        (Verdict::Unavailable(state), before) => match (state, before) {
            // Its Welcome may come yet.
            (UnavailableState::Reserved | UnavailableState::Returned, _) => Reserved,
            (UnavailableState::Expired, _) => Expired,
            (UnavailableState::Revoked | UnavailableState::Superseded, _) => Revoked,
            (UnavailableState::Unknown, Created | Failed) if !has_expired => before,
            (UnavailableState::Unknown, Created)
                if record.rejection.is_some_and(is_for_want_of_room) =>
            {
                Expired
            }
            (UnavailableState::Unknown, Expired) => Expired,
            // It was handed out, perhaps, and the service has forgotten it since.
            (UnavailableState::Unknown, _) if record.last_resort => Revoked,
            (UnavailableState::Unknown, _) => Spent,
            // A state that only a later version knows.
            (_, before) => before,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn record(state: PackageState) -> PoolRecord {
        let time = SystemTime::UNIX_EPOCH;
        let mut record = PoolRecord::new(vec![1], 1, false, vec![2], time, time);
        record.state = state;
        record
    }

    const UNKNOWN: Verdict = Verdict::Unavailable(UnavailableState::Unknown);

    #[test]
    fn spent_and_revoked_packages_never_come_back() {
        for state in PackageState::ALL {
            let spent = Verdict::Unavailable(UnavailableState::Spent);
            assert_eq!(next_state(&record(state), spent, false), PackageState::Spent);
        }
        let revoked = record(PackageState::Revoked);
        assert_eq!(next_state(&revoked, Verdict::Available, false), PackageState::Revoked);
        assert_eq!(next_state(&revoked, UNKNOWN, false), PackageState::Revoked);
    }

    #[test]
    fn what_the_service_has_forgotten_may_have_been_spent() {
        let state = |state| next_state(&record(state), UNKNOWN, false);
        assert_eq!(state(PackageState::Created), PackageState::Created);
        assert_eq!(state(PackageState::Available), PackageState::Spent);
        assert_eq!(state(PackageState::Reserved), PackageState::Spent);
        let created = record(PackageState::Created);
        assert_eq!(next_state(&created, UNKNOWN, true), PackageState::Spent);
        let last_resort = PoolRecord { last_resort: true, ..record(PackageState::Uploaded) };
        assert_eq!(next_state(&last_resort, UNKNOWN, false), PackageState::Revoked);
    }

    #[test]
    fn what_never_fitted_expires() {
        let mut spare = record(PackageState::Created);
        for reason in [RejectionReason::PoolFull, RejectionReason::QuotaExceeded] {
            spare.rejection = Some(reason);
            assert_eq!(next_state(&spare, UNKNOWN, false), PackageState::Created);
            assert_eq!(next_state(&spare, UNKNOWN, true), PackageState::Expired);
        }
    }
}
