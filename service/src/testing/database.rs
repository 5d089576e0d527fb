//! PostgreSQL for tests.
//!
//! ```no_run
//! # async fn example() {
//! use keypool_service::testing::database::TestDatabase;
//!
//! let database = TestDatabase::create().await;
//! let (client, connection) = database.config().connect(tokio_postgres::NoTls).await.unwrap();
//! # }
//! ```

mod backup;
mod cluster;
pub mod defaults;
mod watchdog;

pub use backup::{BaseBackup, Recovery};
pub use cluster::TestCluster;

use defaults::Hostile;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use std::{
    os::unix::ffi::OsStrExt,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};
use tokio_postgres::{Client, Config, NoTls, config::Host};

/// An empty database of a test's own, dropped with this value, whoever is still connected.
///
/// All databases of a test process live in one [`TestCluster`], which the first of them starts.
#[derive(Debug)]
pub struct TestDatabase {
    config: Config,
    admin: Config,
}

impl TestDatabase {
    /// Creates a database in the cluster that all tests of the process share.
    ///
    /// # Panics
    ///
    /// If PostgreSQL can't be started, as when it isn't installed.
    pub async fn create() -> Self {
        Self::create_in(TestCluster::shared().await).await
    }

    /// Creates a database in a cluster of one's own, as [`TestCluster::durable`].
    ///
    /// # Panics
    ///
    /// If the cluster doesn't serve.
    pub async fn create_in(cluster: &TestCluster) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));

        let hostile = Hostile::of_process();
        let mut admin = cluster.config();
        if hostile.is_some() {
            Hostile::calm(&mut admin);
        }
        let client = connect(&admin).await.expect("the test cluster serves");
        client
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .expect("the test cluster creates databases");
        let mut config = admin.clone();
        config.dbname(name);
        if let Some(hostile) = hostile {
            hostile.set(&config).await;
        }
        Self { config, admin }
    }

    /// How to connect.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// How to connect, as a value for `--database-url`.
    pub fn url(&self) -> String {
        self.url_at(&[&self.config])
    }

    /// How to connect to whichever is the primary: the cluster that the database is in, or a standby of it.
    pub fn url_with_standby(&self, standby: &TestCluster) -> String {
        let url = self.url_at(&[&self.config, &standby.config()]);
        url + "?target_session_attrs=read-write"
    }

    /// How to connect to its copy on a standby.
    pub fn url_on(&self, standby: &TestCluster) -> String {
        self.url_at(&[&standby.config()])
    }

    fn url_at(&self, servers: &[&Config]) -> String {
        let user = self.config.get_user().unwrap_or_default().as_bytes();
        self.url_of(user, self.config.get_password().unwrap_or_default(), servers)
    }

    /// How to connect as another role.
    pub fn url_as(&self, user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> String {
        self.url_of(user.as_ref(), password.as_ref(), &[&self.config])
    }

    /// Creates a role with this password that owns the database and its schema, and returns its name.
    ///
    /// # Panics
    ///
    /// If it was called before.
    pub async fn create_owner(&self, password: &str) -> String {
        let name = self.name();
        let role = format!("owner_of_{name}");
        let create = format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{password}'; ALTER DATABASE {name} OWNER TO {role}; \
             ALTER SCHEMA public OWNER TO {role}"
        );
        let client = connect(&self.config).await.expect("the database serves");
        client.batch_execute(&create).await.expect("there is no such role yet");
        role
    }

    fn url_of(&self, user: &[u8], password: &[u8], servers: &[&Config]) -> String {
        let encode = |part| percent_encode(part, NON_ALPHANUMERIC).to_string();
        let hosts = servers.iter().map(|server| {
            let [Host::Unix(socket)] = server.get_hosts() else {
                unreachable!("test clusters have one unix socket")
            };
            encode(socket.as_os_str().as_bytes())
        });
        let hosts: Vec<String> = hosts.collect();
        let [user, password, name] = [user, password, self.name().as_bytes()].map(encode);
        format!("postgresql://{user}:{password}@{}/{name}", hosts.join(","))
    }

    fn name(&self) -> &str {
        self.config.get_dbname().unwrap_or_default()
    }
}

impl Drop for TestDatabase {
    /// Doesn't wait: what is still there when the process ends goes with the cluster.
    fn drop(&mut self) {
        let admin = self.admin.clone();
        let drop_database = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name());
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                let client = connect(&admin).await.ok()?;
                client.batch_execute(&drop_database).await.ok()
            })
        });
    }
}

/// A client whose connection ends with it.
async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn has_table(config: &Config) -> bool {
        let client = connect(config).await.unwrap();
        let query = "SELECT to_regclass('mine') IS NOT NULL";
        client.query_one(query, &[]).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn databases_are_isolated() {
        let (one, other) = tokio::join!(TestDatabase::create(), TestDatabase::create());
        let client = connect(&one.config()).await.unwrap();
        client.batch_execute("CREATE TABLE mine ()").await.unwrap();
        assert!(has_table(&one.config()).await);
        assert!(!has_table(&other.config()).await);
    }

    #[tokio::test]
    async fn the_url_leads_to_the_database() {
        let database = TestDatabase::create().await;
        let client = connect(&database.url().parse().unwrap()).await.unwrap();
        client.batch_execute("CREATE TABLE mine ()").await.unwrap();
        assert!(has_table(&database.config()).await);
    }

    #[tokio::test]
    async fn goes_when_dropped_though_in_use() {
        let database = TestDatabase::create().await;
        let config = database.config();
        let client = connect(&config).await.unwrap();
        drop(database);
        client.query("SELECT pg_sleep(60)", &[]).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_durable_cluster_survives_kill_9() {
        let cluster = TestCluster::durable().await;
        let database = TestDatabase::create_in(&cluster).await;
        let client = connect(&database.config()).await.unwrap();
        client.batch_execute("CREATE TABLE mine ()").await.unwrap();

        cluster.kill_9().await;
        client.query("SELECT 1", &[]).await.unwrap_err();
        cluster.wait_until_ready().await;
        assert!(has_table(&database.config()).await);
    }
}
