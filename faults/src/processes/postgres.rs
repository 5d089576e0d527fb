//! A durable PostgreSQL, and a database in it.

use crate::{error::Error, network::Upstream};
use keypool_service::testing::database::{TestCluster, TestDatabase};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rustix::process::Pid;
use std::{ffi::OsStr, io, net::SocketAddr, os::unix::ffi::OsStrExt, path::Path, process::Stdio};
use tokio::{io::AsyncWriteExt, process::Command};
use tokio_postgres::{Client, NoTls, config::Host};

/// It takes few connections, so that they are used up soon. What is committed asynchronously stays in memory for long, so that
/// it is surely lost with PostgreSQL.
const SETTINGS: [(&str, &str); 3] =
    [("max_connections", "80"), ("wal_writer_delay", "10s"), ("wal_writer_flush_after", "1GB")];

/// A durable PostgreSQL, and a database in it.
#[derive(Debug)]
pub(crate) struct Postgres {
    // Before the cluster, which it is in.
    database: TestDatabase,
    cluster: TestCluster,
}

impl Postgres {
    /// Starts it.
    pub(crate) async fn start() -> Self {
        let cluster = TestCluster::durable_with(&SETTINGS).await;
        Self { database: TestDatabase::create_in(&cluster).await, cluster }
    }

    /// Connects to it, by no link.
    pub(crate) async fn connect(&self) -> Result<Client, Error> {
        let (client, connection) = self.database.config().connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Connects to another database of it, as one who may do everything.
    pub(crate) async fn admin(&self) -> Result<Client, Error> {
        let (client, connection) = self.cluster.config().connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Changes a setting of the cluster by `ALTER SYSTEM`, at once.
    pub(crate) async fn configure(&self, admin: &Client, alter_system: &str) -> Result<(), Error> {
        admin.batch_execute(alter_system).await?;
        Ok(admin.batch_execute("SELECT pg_reload_conf()").await?)
    }

    /// What a statement begins with that changes settings of the database.
    pub(crate) fn alter_database(&self) -> String {
        format!("ALTER DATABASE {}", self.name())
    }

    /// What a statement begins with that changes settings of the role in the database.
    pub(crate) fn alter_role(&self) -> String {
        let config = self.database.config();
        format!("ALTER ROLE {} IN DATABASE {}", config.get_user().unwrap_or_default(), self.name())
    }

    /// Ends all sessions of the database.
    pub(crate) async fn end_sessions(&self, admin: &Client) -> Result<(), Error> {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        admin.query(end, &[&self.name()]).await?;
        Ok(())
    }

    /// What `pg_dump` writes of the database.
    pub(crate) async fn dump(&self) -> Result<Vec<u8>, Error> {
        self.tool("pg_dump", &["--format=custom", "--compress=0"], &[]).await
    }

    /// Drops the database, whoever uses it, and restores what was dumped into a new one of the same name.
    pub(crate) async fn restore(&self, dump: &[u8]) -> Result<(), Error> {
        let (admin, name) = (self.admin().await?, self.name());
        admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        self.tool("pg_restore", &["--single-transaction", "--exit-on-error"], dump).await.map(drop)
    }

    /// Runs a program of PostgreSQL's on the database, and returns what it writes.
    async fn tool(&self, name: &str, flags: &[&str], input: &[u8]) -> Result<Vec<u8>, Error> {
        let folder = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
        let folder: String = self.admin().await?.query_one(folder, &[]).await?.try_get(0)?;
        let config = self.database.config();
        let mut command = Command::new(Path::new(&folder).join(name));
        if let [Host::Unix(socket)] = config.get_hosts() {
            command.env("PGHOST", socket);
        }
        command
            .env("PGPORT", config.get_ports().first().copied().unwrap_or(5432).to_string())
            .env("PGUSER", config.get_user().unwrap_or_default())
            .env("PGPASSWORD", OsStr::from_bytes(config.get_password().unwrap_or_default()))
            .args(flags)
            .arg(format!("--dbname={}", self.name()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let failed = |error| Error::io(format!("run {name}"))(error);
        let mut child = command.spawn().map_err(failed)?;
        let mut stdin = child.stdin.take();
        let writing = async {
            let Some(mut stdin) = stdin.take() else { return Ok(()) };
            stdin.write_all(input).await
        };
        let (written, output) = tokio::join!(writing, child.wait_with_output());
        let output = output.map_err(failed)?;
        if !output.status.success() {
            return Err(failed(io::Error::other(output.status.to_string())));
        }
        written.map_err(failed)?;
        Ok(output.stdout)
    }

    fn name(&self) -> String {
        self.database.config().get_dbname().unwrap_or_default().to_owned()
    }

    /// Where a link to it leads.
    pub(crate) fn upstream(&self) -> Upstream {
        let config = self.database.config();
        match config.get_hosts() {
            [Host::Unix(folder)] => {
                let port = config.get_ports().first().copied().unwrap_or(5432);
                Upstream::Unix(folder.join(format!(".s.PGSQL.{port}")))
            }
            _ => Upstream::Nobody,
        }
    }

    /// How to connect to it by a link that begins here, as a value for `--database-url`.
    pub(crate) fn url_by(&self, link: SocketAddr) -> String {
        let config = self.database.config();
        let [user, password, name] = [
            config.get_user().unwrap_or_default().as_bytes(),
            config.get_password().unwrap_or_default(),
            config.get_dbname().unwrap_or_default().as_bytes(),
        ]
        .map(|part| percent_encode(part, NON_ALPHANUMERIC));
        format!("postgresql://{user}:{password}@{link}/{name}")
    }

    /// The number of its processes, the main one first.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        self.cluster.processes()
    }

    /// Kills its main process, and waits until it is dead.
    pub(crate) async fn kill_9(&self) {
        self.cluster.kill_9().await;
    }

    /// Waits until it serves.
    pub(crate) async fn wait_until_ready(&self) {
        self.cluster.wait_until_ready().await;
    }
}
