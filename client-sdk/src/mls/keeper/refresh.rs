//! One refresh, from begin to end.

use std::collections::HashSet;
use std::ops::Deref;
use std::time::{Duration, SystemTime};

use keypool_proto::v1::CipherSuitePool;
use openmls::prelude::Ciphersuite;
use openmls::storage::OpenMlsProvider;
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::signatures::Signer;
use prost_types::Timestamp;

use super::super::store::{PackageState, PoolRecord};
use super::books::Books;
use super::credential::Identity;
use super::generate::Wanted;
use super::other_install::Ownership;
use super::plan::{self, LastResort};
use super::{ClockOffset, Inner, RefreshError, Refreshed, keys};
use crate::package::to_time;
use crate::{Error, Revoke};

/// The service takes so many refs in one call.
pub(super) const MAX_REFS_PER_CALL: usize = 1000;

const RECONCILE_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Refresh<'a, P, S> {
    pub(super) keeper: &'a Inner<P, S>,
    /// Not shared, although nothing here changes it: it need not be `Sync`, and nor need the identity.
    pub(super) provider: &'a mut P,
    pub(super) identity: &'a mut Identity<S>,
    pub(super) credential_hash: Vec<u8>,
    pub(super) books: Books,
    /// The refs of packages of which the service said, in this refresh, that nobody gets them, and
    /// that they are not spent.
    pub(super) settled: HashSet<Vec<u8>>,
    pub(super) report: Refreshed,
    /// When the service read the status that was fetched last, by its clock.
    pub(super) read_at: Option<Timestamp>,
    pub(super) now: SystemTime,
    /// The refs of packages that a reconcile revoked and of which the device has nothing.
    pub(super) not_listed: Vec<Vec<u8>>,
    /// Until when a used last resort is let be.
    pub(super) last_resort_rests_until: Option<SystemTime>,
    /// Until when the pool is left to another install.
    pub(super) left_until: Option<SystemTime>,
}

/// What a keeper remembers from one refresh to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The last reconcile.
    pub(super) reconciled_at: Option<SystemTime>,
    /// When the pool was last seen filled by another install although this keeper had filled it.
    pub(super) contested_at: Option<SystemTime>,
}

impl<'a, P, S> Refresh<'a, P, S>
where
    P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
    S: Deref<Target: Signer + Sized>,
{
    pub(super) fn begin(
        keeper: &'a Inner<P, S>,
        provider: &'a mut P,
        identity: &'a mut Identity<S>,
    ) -> Result<Self, RefreshError> {
        let now = keeper.settings.now();
        let mut books = Books::new(keeper.settings.store.clone(), now);
        books.catch_up(|key_package_ref| has_key(&**provider, key_package_ref))?;
        let crypto = (**provider).crypto();
        let credential_hash = identity.hash(crypto).map_err(RefreshError::Generate)?;
        Ok(Self {
            keeper,
            provider,
            identity,
            credential_hash,
            books,
            settled: HashSet::new(),
            report: Refreshed::default(),
            read_at: None,
            now,
            not_listed: Vec::new(),
            last_resort_rests_until: None,
            left_until: None,
        })
    }

    pub(super) async fn run(&mut self, memory: &mut Memory) -> Result<(), RefreshError> {
        self.sort_out()?;
        self.fetch_status().await?;
        let mut is_due = self.reconcile_is_due(memory.reconciled_at) || !self.counts_agree();
        // The first reconcile of a device that was restored revokes what it does not know.
        let is_innocent = memory.reconciled_at.is_none() && !self.remembers_foreign();
        if !is_innocent {
            match self.ownership(memory)? {
                Ownership::Own => {}
                Ownership::LeftUntil(until) if !self.has_outdated() => {
                    self.left_until = Some(until);
                    return Ok(());
                }
                // A new credential does not wait.
                Ownership::Foreign | Ownership::LeftUntil(_) => is_due = true,
            }
        }
        if is_due {
            self.reconcile().await?;
            if is_innocent {
                self.note_replaced()?;
            }
            memory.reconciled_at = Some(self.now);
            self.delete_settled_keys()?;
        }
        self.upload_unconfirmed().await?;
        self.top_up().await?;
        let outdated = self.books.refs(|record| self.is_replaced(record));
        if !outdated.is_empty() {
            self.revoke(outdated).await?;
            self.fetch_status().await?;
            // There is room now for what didn't fit beside the outdated ones.
            self.top_up().await?;
        }
        Ok(())
    }

    fn reconcile_is_due(&self, reconciled_at: Option<SystemTime>) -> bool {
        reconciled_at.is_none_or(|at| self.has_passed(at, RECONCILE_INTERVAL) || at > self.now)
            || self.books.iter().any(|record| self.needs_a_verdict(record))
    }

    /// Whether the service has as many one-time packages, and as many of them held, as the records
    /// say.
    fn counts_agree(&self) -> bool {
        let pools = self.report.status.iter().flat_map(|status| &status.pools);
        let counted = pools.fold((0, 0), |(pooled, held), pool| {
            (pooled + pool.available + pool.reserved, held + pool.reserved)
        });
        let one_time = || self.books.iter().filter(|record| !record.last_resort);
        let pooled = one_time().filter(|record| record.state.is_pooled()).count();
        let held = one_time().filter(|record| record.state == PackageState::Reserved).count();
        counted == (pooled as u64, held as u64)
    }

    /// Unknown to a service is a device that never uploaded anything.
    pub(super) async fn fetch_status(&mut self) -> Result<(), RefreshError> {
        let settings = &self.keeper.settings;
        let (user_id, device_id) = (&settings.user_id, &settings.device_id);
        let status = self.keeper.client.pool_status_with_time(user_id, device_id).await;
        (self.report.status, self.read_at) = match status {
            Ok((status, read_at)) => (Some(status), read_at),
            Err(Error::UnknownUser(_) | Error::UnknownDevice(_)) => (None, None),
            Err(error) => return Err(RefreshError::Status(error)),
        };
        self.measure_clock(to_time(self.read_at).map_err(RefreshError::Status)?);
        Ok(())
    }

    /// Notes how far the device's clock is off, if the service has told its time.
    pub(super) fn measure_clock(&mut self, service_time: Option<SystemTime>) {
        if let Some(time) = service_time {
            let offset = ClockOffset::between(self.keeper.settings.now(), time);
            self.report.clock_offset = Some(offset);
        }
    }

    async fn top_up(&mut self) -> Result<(), RefreshError> {
        self.last_resort_rests_until = None;
        let (mut spares, mut wanted) = (Vec::new(), Vec::new());
        for ciphersuite in self.keeper.settings.ciphersuites.iter().copied() {
            let count = self.missing_one_time(ciphersuite);
            let kept = self.spares(ciphersuite, count);
            let one_time = Wanted { ciphersuite, last_resort: false };
            wanted.extend(std::iter::repeat_n(one_time, count - kept.len()));
            spares.extend(kept);
            match self.last_resort(ciphersuite) {
                LastResort::Wanted => wanted.push(Wanted { ciphersuite, last_resort: true }),
                LastResort::RestsUntil(until) => {
                    let earliest = self.last_resort_rests_until;
                    self.last_resort_rests_until =
                        Some(earliest.map_or(until, |earliest| earliest.min(until)));
                }
                LastResort::Good => {}
            }
        }
        self.upload_spares(&spares).await?;
        self.generate_and_upload(&wanted).await
    }

    fn missing_one_time(&self, ciphersuite: Ciphersuite) -> usize {
        let pooled = self.books.iter().filter(|record| {
            !record.last_resort
                && record.state.is_pooled()
                && record.cipher_suite == u16::from(ciphersuite)
        });
        let (current, outdated): (Vec<_>, Vec<_>) = pooled.partition(|one| self.is_current(one));
        plan::one_time_count(self.pool(ciphersuite), current.len(), outdated.len())
    }

    fn last_resort(&self, ciphersuite: Ciphersuite) -> LastResort {
        let record = |key_package_ref: &[u8]| {
            let record = self.books.get(key_package_ref)?;
            let is_reliable =
                record.state.is_live() && self.is_current(record) && self.books.has_key(record);
            is_reliable.then_some(record)
        };
        let lifetime = self.keeper.settings.lifetime;
        plan::last_resort(self.pool(ciphersuite), record, lifetime, self.now)
    }

    pub(super) fn pool(&self, ciphersuite: Ciphersuite) -> Option<&CipherSuitePool> {
        let number = u32::from(u16::from(ciphersuite));
        self.report.status.as_ref()?.pools.iter().find(|pool| pool.cipher_suite == number)
    }

    pub(super) fn is_current(&self, record: &PoolRecord) -> bool {
        record.credential_hash == self.credential_hash
    }

    /// Whether the pool may have packages of another credential.
    fn has_outdated(&self) -> bool {
        self.books.iter().any(|record| record.state.is_pooled() && !self.is_current(record))
    }

    /// Whether a package of another credential can go, because there are packages of the current one
    /// for whoever wants its cipher suite.
    fn is_replaced(&self, outdated: &PoolRecord) -> bool {
        let is_wanted = |suite: &Ciphersuite| u16::from(*suite) == outdated.cipher_suite;
        let is_wanted = self.keeper.settings.ciphersuites.iter().any(is_wanted);
        let replaces = |record: &PoolRecord| {
            record.state.is_pooled()
                && self.is_current(record)
                && (record.cipher_suite == outdated.cipher_suite || !is_wanted)
        };
        outdated.state.is_live() && !self.is_current(outdated) && self.books.iter().any(replaces)
    }

    pub(super) async fn revoke(
        &mut self,
        key_package_refs: Vec<Vec<u8>>,
    ) -> Result<(), RefreshError> {
        let settings = &self.keeper.settings;
        for chunk in key_package_refs.chunks(MAX_REFS_PER_CALL) {
            let device_id = Some(settings.device_id.as_str());
            let which = Revoke::Refs(chunk.to_vec());
            match self.keeper.client.revoke(&settings.user_id, device_id, which).await {
                Ok(_) | Err(Error::UnknownUser(_) | Error::UnknownDevice(_)) => {}
                Err(error) => return Err(RefreshError::Revoke(error)),
            }
            for key_package_ref in chunk {
                self.books.set_revoked_now(key_package_ref);
            }
            self.books.save()?;
        }
        self.report.revoked.extend(key_package_refs);
        Ok(())
    }

    /// Whether at least this span has gone by since then.
    pub(super) fn has_passed(&self, since: SystemTime, span: Duration) -> bool {
        self.now.duration_since(since).is_ok_and(|gone| gone >= span)
    }

    pub(super) fn has_expired(&self, record: &PoolRecord) -> bool {
        record.not_after <= self.now
    }
}

/// Whether the device has the private keys of a package.
pub(super) fn has_key<P>(provider: &P, key_package_ref: &[u8]) -> Result<bool, RefreshError>
where
    P: OpenMlsProvider<StorageError: Send + Sync + 'static>,
{
    Ok(keys::load(provider, key_package_ref).map_err(RefreshError::Storage)?.is_some())
}
