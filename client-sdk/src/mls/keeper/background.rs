//! Keeping a pool filled without being asked.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::ops::Deref;
use std::pin::pin;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use keypool_proto::v1::{CipherSuitePool, DevicePoolStatus, PoolHealth, RejectionReason};
use openmls::storage::OpenMlsProvider;
use openmls_traits::signatures::Signer;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{KeeperProblem, PoolKeeper, RefreshError, Refreshed};
use crate::PoolWatch;

/// The shortest time between two refreshes, however much happens.
const BREATH: Duration = Duration::from_secs(1);

/// The wait after a failed refresh, at first and at most.
const MIN_BACKOFF: Duration = BREATH;
const MAX_BACKOFF: Duration = Duration::from_secs(60 * 60);

impl<P, S> PoolKeeper<P, S>
where
    P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
    S: Deref<Target: Signer + Sized>,
{
    /// Keeps the pool filled for as long as it is polled: refreshes at once, then each
    /// [hour](super::PoolKeeperBuilder::refresh_interval), and as soon as the service says that the pool
    /// runs low or its last resort was used. After a failure it tries again after a growing delay.
    /// Where the pool can't be watched, the hourly refresh remains.
    ///
    /// One for each keeper is enough. [`refresh`](Self::refresh) may be called meanwhile.
    pub async fn run(&self) -> Infallible {
        self.run_until(pending::<Infallible>()).await
    }

    /// The same until `stop` is ready, whose output it returns. A refresh under way is finished
    /// first.
    pub async fn run_until<T>(&self, stop: impl Future<Output = T>) -> T {
        let mut stop = pin!(stop);
        let mut pace = Pace::new();
        let mut watch = None;
        loop {
            let outcome = self.refresh().await;
            let wait = pace.after(&outcome, self.calm());
            self.inner.shown().next_refresh = self.inner.settings.now().checked_add(wait.at_most);
            let settings = &self.inner.settings;
            let new_watch = || self.inner.client.watch_pool(&settings.user_id, &settings.device_id);
            let watch_again = watch.take().unwrap_or_else(new_watch);
            tokio::select! {
                biased;
                output = &mut stop => {
                    self.inner.shown().next_refresh = None;
                    return output;
                }
                still = self.wait(watch_again, wait) => watch = still,
            }
        }
    }

    /// Keeps the pool filled in a task of its own, as [`run`](Self::run) does. A provider that threads
    /// can't share, such as `openmls_sqlite_storage` on a connection of its own, goes in a `Box`.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn spawn(&self) -> KeeperHandle
    where
        P: Send + 'static,
        S: Send + 'static,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let keeper = self.clone();
        let task = tokio::spawn(async move {
            // An error says that the handle is gone.
            let _ = keeper.run_until(stopped).await;
        });
        KeeperHandle { _stop: stop, task }
    }

    /// How long to wait when all is well.
    fn calm(&self) -> Duration {
        let settings = &self.inner.settings;
        let rests_until = self.inner.shown().last_resort_rests_until;
        let rest = rests_until.map(|until| until.duration_since(settings.now()));
        let rest = rest.map_or(settings.refresh_interval, Result::unwrap_or_default);
        rest.clamp(BREATH, settings.refresh_interval)
    }

    /// Waits until the next refresh. Returns the watch if it can be used again.
    async fn wait(&self, mut watch: PoolWatch, wait: Wait) -> Option<PoolWatch> {
        let now = Instant::now();
        let (earliest, latest) = (now + wait.at_least, now + wait.at_most);
        loop {
            match timeout_at(latest, watch.next()).await {
                Ok(Ok(status)) => {
                    let is_needed = self.needs_refresh(&status);
                    self.inner.shown().pool = Some(status);
                    if is_needed {
                        sleep_until(earliest).await;
                        return Some(watch);
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the pool can't be watched");
                    sleep_until(latest).await;
                    return None;
                }
                Err(_) => return Some(watch),
            }
        }
    }

    fn needs_refresh(&self, status: &DevicePoolStatus) -> bool {
        let settings = &self.inner.settings;
        let rests_until = self.inner.shown().last_resort_rests_until;
        let rests = rests_until.is_some_and(|until| settings.now() < until);
        let is_fine = |pool: &CipherSuitePool| {
            let last_resort = pool.last_resort.as_ref();
            pool.health() == PoolHealth::Healthy
                && last_resort.is_some_and(|last_resort| last_resort.use_count == 0 || rests)
        };
        settings.ciphersuites.iter().any(|ciphersuite| {
            let number = u32::from(u16::from(*ciphersuite));
            let pool = status.pools.iter().find(|pool| pool.cipher_suite == number);
            !pool.is_some_and(is_fine)
        })
    }
}

/// A pool that is kept filled in the background. See [`PoolKeeper::spawn`].
///
/// When it is dropped, the task stops by itself: after the refresh that is under way.
#[derive(Debug)]
#[must_use = "the task stops when its handle is dropped"]
pub struct KeeperHandle {
    _stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl KeeperHandle {
    /// Stops the task. Returns when the refresh that is under way, if any, is finished.
    pub async fn stop(self) {
        let Self { _stop: stop, task } = self;
        drop(stop);
        if let Err(error) = task.await {
            tracing::error!(%error, "the task that kept a pool filled broke off");
        }
    }
}

/// How long to wait for the next refresh.
#[derive(Debug, Clone, Copy)]
struct Wait {
    /// Even if the service asks for one.
    at_least: Duration,
    /// Even if nothing happens.
    at_most: Duration,
}

struct Pace {
    backoff: ExponentialBackoff,
}

impl Pace {
    fn new() -> Self {
        let backoff = ExponentialBuilder::new()
            .with_min_delay(MIN_BACKOFF)
            .with_max_delay(MAX_BACKOFF)
            .with_jitter()
            .without_max_times();
        Self { backoff: backoff.build() }
    }

    fn after(&mut self, outcome: &Result<Refreshed, RefreshError>, calm: Duration) -> Wait {
        match outcome {
            Ok(refreshed) if was_taken(refreshed) => {
                *self = Self::new();
                Wait { at_least: BREATH, at_most: calm }
            }
            Ok(_) => {
                let delay = self.next();
                Wait { at_least: delay, at_most: calm.max(delay) }
            }
            Err(error) => {
                let asked = error.call().and_then(crate::Error::retry_after);
                let delay = self.next().max(asked.unwrap_or_default()).min(2 * MAX_BACKOFF);
                tracing::warn!(%error, ?delay, "the pool could not be refreshed");
                Wait { at_least: delay, at_most: delay }
            }
        }
    }

    fn next(&mut self) -> Duration {
        self.backoff.next().unwrap_or(MAX_BACKOFF)
    }
}

/// A package that is rejected once is rejected again, and a pool that is left to another install stays so.
fn was_taken(refreshed: &Refreshed) -> bool {
    let is_left =
        |one: &KeeperProblem| matches!(one, KeeperProblem::OtherInstall { rests_until: Some(_) });
    refreshed.rejected.iter().all(|one| one.reason == RejectionReason::PoolFull)
        && !refreshed.problems.iter().any(is_left)
}
