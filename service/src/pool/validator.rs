//! Validates uploaded packages on threads of their own: signatures take their time, and calls for packages must not wait
//! for it.

use super::{
    PoolError,
    validation::{Rejection, ValidKeyPackage, ValidationPolicy, validate},
};
use crate::types::{DeviceId, UserId};
use jiff::Timestamp;
use rayon::{
    ThreadPool, ThreadPoolBuilder,
    iter::{IntoParallelIterator, ParallelIterator},
};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};
use tokio::sync::{Semaphore, TryAcquireError, oneshot};

/// How many packages may wait to be validated: about three seconds of one core's work.
const MAX_WAITING: usize = 20_000;

/// What validation says of a package.
pub(super) type Verdict = Result<Arc<ValidKeyPackage>, Rejection>;

/// The threads, one for each core, which start with the first upload.
pub(super) struct Validator {
    threads: OnceLock<Arc<ThreadPool>>,
    policy: Arc<ValidationPolicy>,
    room: Arc<Semaphore>,
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator").finish_non_exhaustive()
    }
}

impl Validator {
    pub(super) fn start(policy: &ValidationPolicy) -> Self {
        Self {
            threads: OnceLock::new(),
            policy: Arc::new(policy.clone()),
            room: Arc::new(Semaphore::new(MAX_WAITING)),
        }
    }

    /// Validates packages of a device, in their order.
    pub(super) async fn validate(
        &self,
        user: &UserId,
        device: &DeviceId,
        packages: Vec<Vec<u8>>,
        now: Timestamp,
    ) -> Result<Vec<Verdict>, PoolError> {
        let permits = u32::try_from(packages.len()).unwrap_or(u32::MAX);
        let room =
            self.room.clone().try_acquire_many_owned(permits).map_err(|error| match error {
                TryAcquireError::NoPermits => PoolError::Overloaded,
                TryAcquireError::Closed => PoolError::ShuttingDown,
            })?;
        let (sender, verdicts) = oneshot::channel();
        let (policy, user, device) = (self.policy.clone(), user.clone(), device.clone());
        self.threads()?.spawn(move || {
            let _room = room;
            let judge =
                |bytes: Vec<u8>| validate(&bytes, &user, &device, &policy, now).map(Arc::new);
            // In vain if the caller has left.
            let _ = sender.send(packages.into_par_iter().map(judge).collect());
        });
        verdicts.await.map_err(|panicked| PoolError::Internal(panicked.into()))
    }

    fn threads(&self) -> Result<&ThreadPool, PoolError> {
        if let Some(threads) = self.threads.get() {
            return Ok(threads);
        }
        let threads = ThreadPoolBuilder::new()
            .thread_name(|number| format!("validate-{number}"))
            .panic_handler(|_| tracing::error!("validating a package panicked"))
            .build()
            .map_err(|error| PoolError::Internal(error.into()))?;
        Ok(self.threads.get_or_init(|| Arc::new(threads)))
    }
}
