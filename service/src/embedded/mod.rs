//! A private, durable PostgreSQL, for running without a database of one's own.
//!
//! It runs the `initdb` and `postgres` that are installed on the machine, keeps everything in one
//! folder, and listens on a unix socket only:
//!
//! ```text
//! <data_dir>/lock           held while a keypool uses the folder
//! <data_dir>/password       of the database user
//! <data_dir>/postgres.log   what PostgreSQL writes
//! <data_dir>/postgres/      the database cluster
//! ```

mod account;
mod binaries;
mod cluster;
mod command;
mod data_dir;
mod error;
mod initdb;
mod options;
mod orphan;
mod password;
mod postmaster;
mod server_log;
mod shutdown;
mod socket;
mod supervisor;
#[cfg(test)]
mod tests;

pub use error::EmbeddedError;
pub use options::{Options, default_data_dir};
#[cfg(feature = "testing")]
pub(crate) use orphan::postmaster_pid;

use cluster::Cluster;
use server_log::ServerLog;
use std::{
    fmt,
    path::{Path, PathBuf},
};
use supervisor::Supervisor;
use tokio::time::timeout;
use tokio_postgres::Config;

/// A running private PostgreSQL, restarted should it ever die.
///
/// End it with [`stop`](Self::stop). Dropping it only asks PostgreSQL to stop, without waiting.
pub struct EmbeddedPostgres {
    data_dir: PathBuf,
    config: Config,
    supervisor: Supervisor,
}

impl EmbeddedPostgres {
    /// Starts PostgreSQL, and creates its data first where there is none. Returns once it answers.
    ///
    /// A PostgreSQL that an earlier, killed keypool left running on the same data is stopped first.
    ///
    /// # Errors
    ///
    /// Says what to install if PostgreSQL is missing, who else uses the data directory, or what
    /// PostgreSQL logged if it doesn't start in time; see [`EmbeddedError`].
    pub async fn start(options: Options) -> Result<Self, EmbeddedError> {
        let limit = options.start_timeout;
        timeout(limit, Self::start_unhurried(&options)).await.unwrap_or_else(|_| {
            let log = ServerLog::within(&options.data_dir).tail();
            Err(EmbeddedError::Slow { limit, log })
        })
    }

    async fn start_unhurried(options: &Options) -> Result<Self, EmbeddedError> {
        let cluster = Cluster::prepare(options).await?;
        let postmaster = cluster.launch().await?;
        Ok(Self {
            data_dir: cluster.data_dir().to_owned(),
            config: cluster.config(),
            supervisor: Supervisor::watch(cluster, postmaster),
        })
    }

    /// How to connect: socket, user, password and database. Stays valid across restarts.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// The folder that holds everything.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Waits until PostgreSQL is kept running no more: it was stopped, or what keeps it running has failed.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.supervisor.ended()
    }

    /// Stops PostgreSQL, rolling back what is still open. Takes some four seconds at most before
    /// it resorts to harder, still crash-safe means.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::Unsupervised`] if the supervisor had died, as by a shutdown of the runtime.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        self.supervisor.stop().await
    }
}

impl fmt::Debug for EmbeddedPostgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedPostgres").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}
