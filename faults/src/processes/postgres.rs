//! A durable PostgreSQL, and a database in it.

use crate::{error::Error, network::Upstream};
use keypool_service::testing::database::{TestCluster, TestDatabase};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rustix::process::Pid;
use std::net::SocketAddr;
use tokio_postgres::{Client, NoTls, config::Host};

/// How many connections it takes: few, so that they are used up soon.
const MAX_CONNECTIONS: &str = "60";

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
        let cluster = TestCluster::durable_with(&[("max_connections", MAX_CONNECTIONS)]).await;
        Self { database: TestDatabase::create_in(&cluster).await, cluster }
    }

    /// Connects to it, by no link.
    pub(crate) async fn connect(&self) -> Result<Client, Error> {
        let (client, connection) = self.database.config().connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
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
