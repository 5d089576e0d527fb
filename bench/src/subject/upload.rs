//! Uploads of real packages, and the validation that each of them needs.

use super::Clients;
use crate::{
    database::fill,
    drive::{CallError, Caller},
    error::Error,
};
use keypool_proto::v1::{UploadKeyPackagesRequest, UploadOutcome};
use keypool_service::{
    clock::{Clock, SystemClock},
    pool::validation::{ValidationPolicy, validate},
    testing::packages::PackageMaker,
    types::{DeviceId, UserId},
};
use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    thread::available_parallelism,
};

/// Uploads that wait to be made. Callers share them.
#[derive(Debug, Clone)]
pub(crate) struct UploadQueue(Arc<Mutex<VecDeque<UploadKeyPackagesRequest>>>);

impl UploadQueue {
    /// All these uploads.
    pub(crate) fn new(uploads: Vec<UploadKeyPackagesRequest>) -> Self {
        Self(Arc::new(Mutex::new(uploads.into())))
    }

    /// The next one.
    fn next(&self) -> Option<UploadKeyPackagesRequest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// How many threads make and validate packages: one for each core.
pub(crate) fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Makes so many real packages for each of some devices, on all cores.
pub(crate) async fn make_uploads(
    prefix: &str,
    devices: RangeInclusive<u32>,
    packages: usize,
) -> Result<Vec<UploadKeyPackagesRequest>, Error> {
    let makers = (0..cores()).map(|core| {
        let users: Vec<String> =
            devices.clone().skip(core).step_by(cores()).map(|n| fill::user(prefix, n)).collect();
        let make = move || users.into_iter().map(|user| make_upload(user, packages)).collect();
        tokio::task::spawn_blocking::<_, Vec<_>>(make)
    });
    let mut uploads = Vec::new();
    for maker in makers.collect::<Vec<_>>() {
        uploads.extend(maker.await?);
    }
    Ok(uploads)
}

/// Makes real packages of a user's device. Takes about 0.3 ms for each: keep it off async threads.
pub(crate) fn make_upload(user_id: String, packages: usize) -> UploadKeyPackagesRequest {
    let device_id = fill::DEVICE.to_owned();
    let key_packages = PackageMaker::new(&user_id, &device_id).make_many(packages);
    UploadKeyPackagesRequest { user_id, device_id, key_packages }
}

/// Uploads to keypool.
#[derive(Debug)]
pub(crate) struct Upload {
    /// A client of the service.
    pub(crate) client: Clients,
    /// What to upload.
    pub(crate) queue: UploadQueue,
}

impl Caller for Upload {
    async fn call(&mut self) -> Result<Option<u64>, CallError> {
        let Some(upload) = self.queue.next() else {
            return Ok(None);
        };
        let count = upload.key_packages.len();
        let answer = self.client.upload_key_packages(upload).await?.into_inner();
        let accepted = |outcome: i32| outcome == i32::from(UploadOutcome::Accepted);
        match answer.results.iter().filter(|result| accepted(result.outcome)).count() {
            accepted if accepted == count => Ok(Some(count as u64)),
            accepted => {
                Err(CallError::Failed(format!("{accepted} of {count} packages were accepted")))
            }
        }
    }
}

/// Validates what would be uploaded, as the service does, and does nothing else.
#[derive(Debug)]
pub(crate) struct Validation {
    /// What to validate.
    pub(crate) queue: UploadQueue,
}

impl Caller for Validation {
    async fn call(&mut self) -> Result<Option<u64>, CallError> {
        let Some(upload) = self.queue.next() else {
            return Ok(None);
        };
        tokio::task::spawn_blocking(move || validate_all(&upload))
            .await
            .map_err(|error| CallError::Failed(error.to_string()))?
            .map(Some)
    }
}

/// Validates the packages of one upload.
fn validate_all(upload: &UploadKeyPackagesRequest) -> Result<u64, CallError> {
    let invalid = |error: keypool_service::types::InvalidId| CallError::Failed(error.to_string());
    let user = UserId::new(&upload.user_id).map_err(invalid)?;
    let device = DeviceId::new(&upload.device_id).map_err(invalid)?;
    let policy = ValidationPolicy::default();
    for package in &upload.key_packages {
        validate(package, &user, &device, &policy, SystemClock.now())
            .map_err(|rejection| CallError::Failed(rejection.message))?;
    }
    Ok(upload.key_packages.len() as u64)
}
