//! A PostgreSQL for tests.

use super::{connect, watchdog::Watchdog};
use crate::embedded::{EmbeddedError, EmbeddedPostgres, Options, postmaster_pid};
use rustix::process::{Signal, kill_process};
use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    sync::{OnceCell, oneshot},
    time::{sleep, timeout},
};
use tokio_postgres::Config;

/// How long PostgreSQL may take to die, or to recover.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to connect, or why not.
type Started = Result<Config, EmbeddedError>;

/// A private PostgreSQL in a temporary folder, on a thread of its own: it outlives the runtime of
/// the test that starts it. It takes up to 400 connections.
///
/// On Linux with enough memory, `TMPDIR=/dev/shm` makes it several times as fast.
///
/// Stopped and removed when dropped, and when the process ends, in whatever way.
#[derive(Debug)]
pub struct TestCluster {
    config: Config,
    data_dir: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _watchdog: Watchdog,
}

impl TestCluster {
    /// The cluster that all tests of the process share. It trades durability for speed.
    ///
    /// # Panics
    ///
    /// If PostgreSQL can't be started, as when it isn't installed.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<TestCluster> = OnceCell::const_new();
        let hasty = [("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off")];
        SHARED.get_or_init(|| Self::start(&hasty)).await
    }

    /// A cluster of the test's own, as durable as in production.
    ///
    /// # Panics
    ///
    /// If PostgreSQL can't be started, as when it isn't installed.
    pub async fn durable() -> Self {
        Self::start(&[]).await
    }

    async fn start(settings: &[(&str, &str)]) -> Self {
        let data_dir = tempfile::Builder::new()
            .prefix("keypool-test-")
            .permissions(Permissions::from_mode(0o711)) // root's PostgreSQL is another account's
            .tempdir()
            .expect("the temporary folder is writable")
            .keep();
        let watchdog = Watchdog::over(&data_dir);

        let mut options = Options::new(&data_dir);
        options.settings = [("max_connections", "400")]
            .iter()
            .chain(settings)
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let (started, config) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || run(options, started, stopped));
        Self {
            config: config
                .await
                .expect("the thread tells how the start went")
                .unwrap_or_else(|error| panic!("{error}")),
            data_dir,
            stop: Some(stop),
            thread: Some(thread),
            _watchdog: watchdog,
        }
    }

    /// How to connect, to a database that is nobody's.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// Kills PostgreSQL's main process as `kill -9` does, and waits until it's dead. It will be
    /// restarted: see [`wait_until_ready`](Self::wait_until_ready).
    ///
    /// # Panics
    ///
    /// If it isn't running, or doesn't die within a minute.
    pub async fn kill_9(&self) {
        let pid = postmaster_pid(&self.data_dir.join("postgres")).expect("PostgreSQL runs");
        kill_process(pid, Signal::KILL).expect("PostgreSQL can be killed");
        eventually("PostgreSQL dies", async || rustix::process::test_kill_process(pid).is_err())
            .await;
    }

    /// Waits until PostgreSQL serves, as after a [`kill_9`](Self::kill_9).
    ///
    /// # Panics
    ///
    /// If it doesn't within a minute.
    pub async fn wait_until_ready(&self) {
        eventually("PostgreSQL serves", async || connect(&self.config).await.is_ok()).await;
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs PostgreSQL until the other end of `stopped` is dropped.
fn run(options: Options, started: oneshot::Sender<Started>, stopped: oneshot::Receiver<()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built")
        .block_on(async {
            match EmbeddedPostgres::start(options).await {
                Ok(postgres) => {
                    if started.send(Ok(postgres.config())).is_ok() {
                        let _ = stopped.await;
                    }
                    let _ = postgres.stop().await;
                }
                Err(error) => drop(started.send(Err(error))),
            }
        });
}

async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}
