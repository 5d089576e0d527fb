//! The cluster: PostgreSQL's data, and all that is needed to run it.

use super::{
    account::Account,
    binaries::Binaries,
    command::command,
    data_dir::DataDir,
    error::{EmbeddedError, Trying},
    initdb::{USER, create_cluster},
    options::Options,
    orphan::stop_orphan,
    password::Password,
    postmaster::Postmaster,
    server_log::ServerLog,
    socket::SocketDir,
};
use std::{path::Path, time::Duration};
use tokio::time::sleep;
use tokio_postgres::{Client, Config, NoTls, error::SqlState};

/// The database in the cluster.
const DATABASE: &str = "keypool";

/// The port by which the unix socket is named when there is no other.
const DEFAULT_PORT: u16 = 5432;

/// How often, and after which first pause, PostgreSQL is started again if it exits at once: the
/// processes of one that was killed hold its shared memory for some moments more.
const LAUNCHES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The cluster, ready to be run by one postmaster after another. Owns the data directory.
#[derive(Debug)]
pub(super) struct Cluster {
    data_dir: DataDir,
    binaries: Binaries,
    account: Option<Account>,
    socket: SocketDir,
    password: Password,
    settings: Vec<(String, String)>,
    port: Option<u16>,
    log: ServerLog,
}

impl Cluster {
    /// Takes the data directory, and creates the cluster where there is none.
    pub(super) async fn prepare(options: &Options) -> Result<Self, EmbeddedError> {
        let account = Account::in_place_of_root()?;
        let data_dir = DataDir::open(&options.data_dir, account.is_some())?;
        if let Some(account) = &account {
            account.check_entry(data_dir.path())?;
        }

        let cluster = data_dir.cluster();
        let made_by = data_dir.made_by()?;
        let binaries = Binaries::find(
            options.binaries.as_deref(),
            made_by.map(|major| (cluster.as_path(), major)),
        )?;
        if made_by.is_none() {
            let (folder, version) = (cluster.display(), binaries.version);
            tracing::info!(%folder, %version, "creating a PostgreSQL");
            create_cluster(&data_dir, &binaries, account.as_ref()).await?;
        }
        if let Some(account) = &account {
            account.own(&cluster)?;
        }

        Ok(Self {
            socket: SocketDir::choose(&cluster, account.as_ref())?,
            password: Password::read(&data_dir.password_file())?,
            settings: options.settings.clone(),
            port: options.port,
            log: ServerLog::within(data_dir.path()),
            data_dir,
            binaries,
            account,
        })
    }

    pub(super) fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// How to connect.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host_path(self.socket.path())
            .user(USER)
            .password(self.password.reveal())
            .dbname(DATABASE)
            .port(self.port.unwrap_or(DEFAULT_PORT)); // it names the socket, too
        config
    }

    /// Starts PostgreSQL in place of any that still runs, and waits until it serves the database.
    pub(super) async fn launch(&self) -> Result<Postmaster, EmbeddedError> {
        for launch in 0..LAUNCHES {
            sleep(FIRST_PAUSE * (2_u32.pow(launch) - 1)).await; // none before the first
            stop_orphan(&self.data_dir.cluster()).await?;
            let mut postmaster = self.spawn()?;
            tokio::select! {
                ready = self.ready() => return ready.map(|()| postmaster),
                _ = postmaster.wait() => {}
            }
        }
        Err(EmbeddedError::Exits { log: self.log.tail() })
    }

    /// Starts PostgreSQL.
    pub(super) fn spawn(&self) -> Result<Postmaster, EmbeddedError> {
        let postgres = self.binaries.postgres();
        let log = self.log.open()?;
        let errors = log.try_clone().trying("open", &postgres)?;
        let mut command = command(&postgres, self.account.as_ref());
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
            .arg("-c")
            .arg(format!("listen_addresses={}", self.port.map_or("", |_| "127.0.0.1")))
            .arg("-c")
            .arg(format!("port={}", self.port.unwrap_or(DEFAULT_PORT)))
            .args(["-c", "unix_socket_permissions=0700", "-c"])
            .arg(format!("unix_socket_directories={}", self.socket.setting()))
            .arg("-D") // last, for `orphan` to know it by
            .arg(self.data_dir.cluster())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map(Postmaster::new)
            .trying("run", &postgres)
    }

    /// Waits until PostgreSQL answers, and creates the database where it's missing.
    async fn ready(&self) -> Result<(), EmbeddedError> {
        let mut config = self.config();
        config.dbname("postgres");
        let client = loop {
            match connect(&config).await {
                Ok(client) => break client,
                Err(error) if is_final(&error) => return Err(error.into()),
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        };
        let exists = "SELECT FROM pg_database WHERE datname = $1";
        if client.query_opt(exists, &[&DATABASE]).await?.is_none() {
            client.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await?;
        }
        Ok(())
    }
}

/// A client whose connection ends with it.
async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Whether the server has answered, and not just that it is starting up.
fn is_final(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| *code != SqlState::CANNOT_CONNECT_NOW)
}
