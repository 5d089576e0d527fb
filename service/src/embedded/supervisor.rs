//! Keeping PostgreSQL running.

use super::{cluster::Cluster, error::EmbeddedError, postmaster::Postmaster};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// The pause before a restart. It doubles up to the longest for as long as PostgreSQL exits early.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long PostgreSQL must have run for its end to be news.
const EARLY: Duration = Duration::from_secs(10);

/// Keeps PostgreSQL running until it's stopped or dropped.
pub(super) struct Supervisor {
    stop: CancellationToken,
    /// Cancelled when the task has ended, however it did.
    ended: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Supervisor {
    pub(super) fn watch(cluster: Cluster, postmaster: Postmaster) -> Self {
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (until, alive) = (stop.clone(), ended.clone().drop_guard());
        let task = tokio::spawn(async move {
            let _alive = alive;
            supervise(cluster, postmaster, until).await;
        });
        Self { stop, ended, task: AbortOnDropHandle::new(task) }
    }

    /// Waits until PostgreSQL is kept running no more.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.ended.clone().cancelled_owned()
    }

    pub(super) async fn stop(self) -> Result<(), EmbeddedError> {
        self.stop.cancel();
        self.task.await.map_err(EmbeddedError::Unsupervised)
    }
}

/// Owns the cluster, so that its lock is held until PostgreSQL is gone.
async fn supervise(cluster: Cluster, mut postmaster: Postmaster, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let status = tokio::select! {
            () = stop.cancelled() => return postmaster.stop().await,
            status = postmaster.wait() => status,
        };
        tracing::warn!(?status, "PostgreSQL exited; restarting it");
        if started.elapsed() > EARLY {
            pause = FIRST_PAUSE;
        }
        postmaster = loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            pause = LONGEST_PAUSE.min(pause * 2);
            match cluster.spawn() {
                Ok(postmaster) => break postmaster,
                Err(error) => tracing::warn!(%error, "PostgreSQL can't be restarted"),
            }
        };
    }
}
