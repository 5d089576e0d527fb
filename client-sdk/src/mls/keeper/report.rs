//! What a refresh did.

use std::collections::BTreeMap;
use std::ops::Deref;

use keypool_proto::v1::{DevicePoolStatus, PoolHealth, RejectionReason};
use openmls::storage::OpenMlsProvider;
use openmls_traits::signatures::Signer;

use super::refresh::{Memory, Refresh};
use super::{ClockOffset, KeeperProblem, Rejections};

/// What a refresh did.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Refreshed {
    /// The KeyPackageRefs of the packages that it brought into the pool, last resort included, or that
    /// were there already after an upload whose answer was lost.
    pub uploaded: Vec<Vec<u8>>,
    /// The packages that the service rejected. One for which there was no room
    /// ([`RejectionReason::PoolFull`], [`RejectionReason::QuotaExceeded`]) is kept for when there is.
    pub rejected: Vec<RejectedUpload>,
    /// The KeyPackageRefs of the packages that it took out of the pool: those whose private keys
    /// are gone, and those of a former credential.
    pub revoked: Vec<Vec<u8>>,
    /// The KeyPackageRefs of the packages whose private keys it deleted.
    pub deleted: Vec<Vec<u8>>,
    /// The pool after the refresh. `None` if it is unknown and there was nothing to upload.
    pub status: Option<DevicePoolStatus>,
    /// How far the device's clock is from the service's. `None` if the service did not tell its time.
    pub clock_offset: Option<ClockOffset>,
    /// What keeps the pool from being as it should be all the same. Empty if all is well.
    pub problems: Vec<KeeperProblem>,
}

impl Refreshed {
    /// How many packages the service rejected for each reason.
    #[must_use]
    pub fn rejections(&self) -> Vec<Rejections> {
        let mut rejections: Vec<Rejections> = Vec::new();
        for RejectedUpload { reason, message, .. } in &self.rejected {
            match rejections.iter_mut().find(|one| one.reason == *reason) {
                Some(one) => one.count += 1,
                None => {
                    let (reason, message) = (*reason, message.clone());
                    rejections.push(Rejections { reason, count: 1, message });
                }
            }
        }
        rejections
    }
}

/// A package that the service rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedUpload {
    /// Its KeyPackageRef.
    pub key_package_ref: Vec<u8>,
    /// Why. [`RejectionReason::Unspecified`] if this version doesn't know the reason.
    pub reason: RejectionReason,
    /// The reason in words, for a log or a developer.
    pub message: String,
}

impl<P, S> Refresh<'_, P, S>
where
    P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
    S: Deref<Target: Signer + Sized>,
{
    /// What is wrong after the refresh.
    pub(super) fn problems(&self, memory: &Memory) -> Vec<KeeperProblem> {
        let mut problems = Vec::new();
        if self.left_until.is_some() || self.is_contested(memory) {
            problems.push(KeeperProblem::OtherInstall { rests_until: self.left_until });
        }
        let rejections = self.report.rejections().into_iter();
        let rejections = rejections.filter(|one| self.is_problem(one.reason));
        problems.extend(rejections.map(KeeperProblem::Rejected));
        let margin = self.keeper.settings.clock_margin;
        let wrong = self.report.clock_offset.filter(|offset| offset.distance() > margin);
        problems.extend(wrong.map(KeeperProblem::WrongClock));
        problems.extend(self.understocked());
        problems.extend(self.unusable());
        problems
    }

    /// Whether packages made now would be rejected for that reason again.
    fn is_problem(&self, reason: RejectionReason) -> bool {
        match reason {
            // Of a package from before, whose upload was not answered.
            RejectionReason::AlreadySpent | RejectionReason::Revoked => false,
            // Usually another process of the device was faster, and nothing lacks.
            RejectionReason::PoolFull => self.understocked().next().is_some(),
            _ => true,
        }
    }

    fn understocked(&self) -> impl Iterator<Item = KeeperProblem> {
        self.keeper.settings.ciphersuites.iter().filter_map(|ciphersuite| {
            let pool = self.pool(*ciphersuite);
            let last_resort = pool.is_some_and(|pool| pool.last_resort.is_some());
            if last_resort && pool.is_some_and(|pool| pool.health() == PoolHealth::Healthy) {
                return None;
            }
            let available = pool.map_or(0, |pool| pool.available);
            let cipher_suite = u16::from(*ciphersuite);
            Some(KeeperProblem::Understocked { cipher_suite, available, last_resort })
        })
    }

    fn unusable(&self) -> Vec<KeeperProblem> {
        let reported = self.report.status.iter().flat_map(|status| &status.unusable_key_packages);
        let remembered = reported.filter(|one| self.books.get(&one.key_package_ref).is_some());
        let mut counts = BTreeMap::<_, usize>::new();
        for one in remembered {
            *counts.entry(one.reason()).or_default() += 1;
        }
        let problem = |(reason, count)| KeeperProblem::Unusable { reason, count };
        counts.into_iter().map(problem).collect()
    }
}
