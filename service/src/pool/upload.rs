use super::{
    DeviceStatus, KeyPackagePool, PoolError,
    contention::Contention,
    validation::{Rejection, RejectionReason, ValidKeyPackage},
    validator::Verdict,
};
use crate::{
    lane::{LaneError, UploadCall},
    store::{DeviceKey, StoreError, StoredOutcome},
    types::{DeviceId, KeyPackageRef, UserId},
};
use std::{collections::HashMap, sync::Arc};

/// What became of one uploaded package.
#[derive(Debug, Clone)]
pub enum UploadResult {
    /// It is in the pool.
    Accepted(KeyPackageRef),
    /// It was in the pool before.
    AlreadyPresent(KeyPackageRef),
    /// It is not in the pool.
    Rejected(Rejection),
}

/// What an upload reached.
#[derive(Debug, Clone)]
pub struct UploadReport {
    /// One result for each package, in order.
    pub results: Vec<UploadResult>,
    /// The pool afterwards.
    pub status: DeviceStatus,
}

impl KeyPackagePool {
    /// Adds packages to a device's pool. Each is judged for itself; all the accepted ones are stored in one transaction.
    ///
    /// # Errors
    /// If the device uploads too often, or is new and one too many of its user; if the service is overloaded, or the database fails: then repeating the upload is safe.
    pub async fn upload(
        &self,
        user: &UserId,
        device: &DeviceId,
        packages: Vec<Vec<u8>>,
    ) -> Result<UploadReport, PoolError> {
        let _call = self.admit()?;
        let key = DeviceKey::new(user.clone(), device.clone());
        let charge = self
            .limits()
            .validation(user, cost(&packages), self.now())
            .map_err(PoolError::RateLimited)?;
        let results = match self.judge_and_store(&key, packages).await {
            Ok(results) => results,
            Err(error) => {
                if !error.is_verdict() && !matches!(error, PoolError::RateLimited(_)) {
                    charge.put_back();
                }
                return Err(error);
            }
        };
        self.inner.watches.touch(&key);
        let status = self.device_status(user, device).await.map_err(PoolError::after_effects)?;
        Ok(UploadReport { results, status })
    }

    async fn judge_and_store(
        &self,
        device: &DeviceKey,
        packages: Vec<Vec<u8>>,
    ) -> Result<Vec<UploadResult>, PoolError> {
        let now = self.now();
        let validated = self.inner.validator.validate(&device.user, &device.device, packages, now);
        let mut verdicts = validated.await?;
        let repeats = repeats(&mut verdicts);
        let valid: Vec<_> =
            verdicts.iter().filter_map(|verdict| verdict.as_ref().ok().cloned()).collect();
        let mut outcomes = self.store_within_limit(device, valid).await?.into_iter();
        let mut results: Vec<UploadResult> = verdicts
            .into_iter()
            .map(|verdict| match verdict {
                Ok(package) => stored(package.reference.clone(), outcomes.next()),
                Err(rejection) => UploadResult::Rejected(rejection),
            })
            .collect();
        for (repeat, first) in repeats {
            results[repeat] = match &results[first] {
                UploadResult::Accepted(reference) => {
                    UploadResult::AlreadyPresent(reference.clone())
                }
                other => other.clone(),
            };
        }
        Ok(results)
    }

    /// Stores valid packages. Those that are added count, and no others.
    async fn store_within_limit(
        &self,
        device: &DeviceKey,
        packages: Vec<Arc<ValidKeyPackage>>,
    ) -> Result<Vec<StoredOutcome>, PoolError> {
        if packages.is_empty() {
            return Ok(Vec::new());
        }
        let charge = self
            .limits()
            .upload(device, packages.len(), self.now())
            .map_err(PoolError::RateLimited)?;
        let stored = self.store_valid(device, packages).await;
        let is_added = |outcome: &&StoredOutcome| **outcome == StoredOutcome::Accepted;
        charge.keep(stored.as_ref().map_or(0, |outcomes| outcomes.iter().filter(is_added).count()));
        stored
    }

    /// Stores valid packages, and waits for a while if another transaction has the device locked.
    async fn store_valid(
        &self,
        device: &DeviceKey,
        packages: Vec<Arc<ValidKeyPackage>>,
    ) -> Result<Vec<StoredOutcome>, PoolError> {
        let mut contention = Contention::new();
        loop {
            let call = UploadCall { device: device.clone(), packages: packages.clone() };
            match self.lanes().upload(call).await {
                Ok(outcomes) if outcomes.contains(&StoredOutcome::TooManyDevices) => {
                    return Err(PoolError::TooManyDevices(device.user.clone()));
                }
                Ok(outcomes) if !outcomes.contains(&StoredOutcome::Contended) => {
                    return Ok(outcomes);
                }
                Ok(_) if contention.wait().await => {}
                Ok(_) => return Err(StoreError::locked().into()),
                Err(LaneError::Store(StoreError::Locked(_))) if contention.back_off().await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What it costs to validate packages: two signatures each, and the reading of their bytes.
fn cost(packages: &[Vec<u8>]) -> usize {
    packages.iter().map(|package| 1 + package.len() / 4096).sum()
}

/// Finds packages that come more than once in an upload, so that each is stored once: the same bytes get the result of the
/// first, another package with the same init key is rejected.
fn repeats(verdicts: &mut [Verdict]) -> Vec<(usize, usize)> {
    let mut refs: HashMap<KeyPackageRef, usize> = HashMap::new();
    let mut init_keys: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut repeats = Vec::new();
    for (item, verdict) in verdicts.iter_mut().enumerate() {
        let Ok(package) = verdict else { continue };
        let reference = package.reference.clone();
        if let Some(&first) = refs.get(&reference) {
            repeats.push((item, first));
        } else if !init_keys.contains_key(&package.init_key) {
            init_keys.insert(package.init_key.clone(), item);
            refs.insert(reference, item);
            continue;
        }
        *verdict = Err(rejection(RejectionReason::InitKeyReused, reference));
    }
    repeats
}

fn stored(reference: KeyPackageRef, outcome: Option<StoredOutcome>) -> UploadResult {
    let reason = match outcome {
        Some(StoredOutcome::Accepted) => return UploadResult::Accepted(reference),
        Some(StoredOutcome::Present) => return UploadResult::AlreadyPresent(reference),
        Some(StoredOutcome::Spent) => RejectionReason::AlreadySpent,
        Some(StoredOutcome::Revoked) => RejectionReason::Revoked,
        Some(StoredOutcome::OtherDevice) => RejectionReason::BelongsToOtherDevice,
        Some(StoredOutcome::InitKeyReused) => RejectionReason::InitKeyReused,
        Some(StoredOutcome::Full) => RejectionReason::PoolFull,
        Some(StoredOutcome::OverQuota) => RejectionReason::QuotaExceeded,
        Some(StoredOutcome::Expired) => RejectionReason::Expired,
        Some(StoredOutcome::NotYetValid) => RejectionReason::NotYetValid,
        Some(StoredOutcome::Contended | StoredOutcome::TooManyDevices) | None => {
            RejectionReason::Invalid
        }
    };
    UploadResult::Rejected(rejection(reason, reference))
}

fn rejection(reason: RejectionReason, reference: KeyPackageRef) -> Rejection {
    Rejection { reason, reference: Some(reference), message: reason.to_string() }
}
