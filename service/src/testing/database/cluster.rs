//! A PostgreSQL for tests.

use super::{connect, defaults::Hostile, watchdog::Watchdog};
use crate::embedded::{EmbeddedError, EmbeddedPostgres, Options, postmaster_pid};
use rustix::{
    fs::statvfs,
    process::{Pid, Signal, kill_process},
};
use std::{
    env,
    fs::{self, Permissions},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
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

/// How much room tests may need, in bytes: WAL takes a gigabyte before it is recycled.
const ROOM: u64 = 3 << 30;

/// How to connect, or why not.
type Started = Result<Config, EmbeddedError>;

/// A private PostgreSQL in a temporary folder, on a thread of its own: it outlives the runtime of
/// the test that starts it. It takes up to 400 connections.
///
/// Stopped and removed when dropped, and when the process ends, in whatever way.
#[derive(Debug)]
pub struct TestCluster {
    config: Config,
    port: Option<u16>,
    pub(super) data_dir: PathBuf,
    options: Options,
    running: Option<Running>,
    _watchdog: Watchdog,
}

/// A PostgreSQL that runs on a thread. Stopped when dropped.
#[derive(Debug)]
struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestCluster {
    /// The cluster that all tests of the process share, in memory where there is enough.
    ///
    /// # Panics
    ///
    /// If PostgreSQL can't be started, as when it isn't installed.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<TestCluster> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start_in(data_dir_in(&in_memory()), &[], None)).await
    }

    /// A cluster of the test's own that also listens on a port of 127.0.0.1, by TLS with this certificate and key (PEM) and
    /// without. It may ask for client certificates: those that this CA (PEM) vouches for are valid.
    ///
    /// # Panics
    ///
    /// If PostgreSQL can't be started, or can't use the certificate.
    pub async fn with_tls(certificate: &str, key: &str, client_ca: &str) -> Self {
        let cluster = Self::start(&[], Some(free_port())).await;
        let admin = connect(&cluster.config).await.expect("the test cluster serves");
        let mut settings = String::new();
        for (setting, file, content) in [
            ("ssl_cert_file", "server.crt", certificate),
            ("ssl_key_file", "server.key", key),
            ("ssl_ca_file", "clients.crt", client_ca),
        ] {
            // The server writes them: it may run as another account, which alone may read its key.
            let copy = format!(
                "COPY (SELECT line FROM string_to_table('{content}', E'\\n') AS line) \
                 TO PROGRAM 'umask 077; cat > {file}'"
            );
            admin.batch_execute(&copy).await.expect("the test cluster writes its files");
            settings += &format!("ALTER SYSTEM SET {setting} = '{file}';\n");
        }
        for setting in settings.lines().chain(["ALTER SYSTEM SET ssl = on"]) {
            admin.batch_execute(setting).await.expect("the test cluster takes settings");
        }
        admin.batch_execute("SELECT pg_reload_conf()").await.expect("the test cluster reloads");
        eventually("PostgreSQL has TLS", async || {
            // A new session: settings reach those that exist when they are idle.
            let client = connect(&cluster.config).await.expect("the test cluster serves");
            let row = client.query_one("SHOW ssl", &[]).await.expect("a setting can be asked for");
            row.get::<_, &str>(0) == "on"
        })
        .await;
        cluster
    }

    /// The port of 127.0.0.1 that it listens on, if it does.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// A cluster of the test's own, as durable as in production.
    ///
    /// # Panics
    ///
    /// If PostgreSQL can't be started, as when it isn't installed.
    pub async fn durable() -> Self {
        Self::durable_with(&[]).await
    }

    /// The same, with settings of PostgreSQL, as in `("max_connections", "50")`.
    ///
    /// # Panics
    ///
    /// If PostgreSQL can't be started, as when it isn't installed.
    pub async fn durable_with(settings: &[(&str, &str)]) -> Self {
        Self::start(settings, None).await
    }

    async fn start(settings: &[(&str, &str)], port: Option<u16>) -> Self {
        Self::start_in(data_dir(), settings, port).await
    }

    /// Starts PostgreSQL on the data that is in the folder, or on new data.
    pub(super) async fn start_in(
        data_dir: PathBuf,
        settings: &[(&str, &str)],
        port: Option<u16>,
    ) -> Self {
        let watchdog = Watchdog::over(&data_dir);

        let mut options = Options::new(&data_dir);
        options.settings = [("max_connections", "400")]
            .iter()
            .chain(settings)
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        options.port = port;
        let (config, running) = Running::start(options.clone()).await;
        if Hostile::of_process() == Some(Hostile::System) {
            let mut calm = config.clone();
            Hostile::calm(&mut calm);
            Hostile::set_system(&calm).await;
        }
        Self { config, port, data_dir, options, running: Some(running), _watchdog: watchdog }
    }

    /// Stops PostgreSQL, does something to its data, and starts it again. It listens where it did.
    pub(super) async fn stopped(&mut self, change: impl FnOnce()) {
        drop(self.running.take());
        change();
        let (config, running) = Running::start(self.options.clone()).await;
        assert_eq!(config, self.config, "it is where it was");
        self.running = Some(running);
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

    /// PostgreSQL's processes, the main one first; none while it is down. Where the system has no `/proc`, the main one only.
    pub fn processes(&self) -> Vec<Pid> {
        let Some(main) = postmaster_pid(&self.data_dir.join("postgres")) else {
            return Vec::new();
        };
        let parent = main.as_raw_nonzero().to_string();
        let child = |entry: fs::DirEntry| {
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // After the name, which is in parentheses: the state, and the parent.
            let (_, fields) = stat.rsplit_once(") ")?;
            (fields.split(' ').nth(1)? == parent)
                .then(|| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))?
        };
        let children = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(child);
        [main].into_iter().chain(children).collect()
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

impl Running {
    async fn start(options: Options) -> (Config, Self) {
        let (started, config) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || run(options, started, stopped));
        let config = config
            .await
            .expect("the thread tells how the start went")
            .unwrap_or_else(|error| panic!("{error}"));
        (config, Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Running {
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

/// A folder for a cluster's data, which its watchdog removes.
pub(super) fn data_dir() -> PathBuf {
    data_dir_in(&env::temp_dir())
}

fn data_dir_in(folder: &Path) -> PathBuf {
    tempfile::Builder::new()
        .prefix("keypool-test-")
        .permissions(Permissions::from_mode(0o711)) // root's PostgreSQL is another account's
        .tempdir_in(folder)
        .expect("the temporary folder is writable")
        .keep()
}

/// A folder in memory, where waiting for the disk takes no time; the temporary one if there is none with room.
fn in_memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let has_room = statvfs(memory).is_ok_and(|disk| disk.f_bavail * disk.f_frsize >= ROOM);
    if has_room { memory.to_owned() } else { env::temp_dir() }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a port is free")
        .port()
}

pub(super) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}
