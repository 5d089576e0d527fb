use crate::{
    config::ConfigError,
    embedded::EmbeddedError,
    pem::TlsError,
    store::{Fault, MigrateError, SchemaState, StoreError, requirements::may_pass},
    supervise::TaskName,
};
use std::{io, net::SocketAddr};

/// Why the service did not start or stop as it should.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is wrong.
    #[error("the configuration is wrong")]
    Config(#[from] ConfigError),
    /// The private PostgreSQL failed.
    #[error("the private PostgreSQL failed")]
    Embedded(#[from] EmbeddedError),
    /// The database can't be reached.
    #[error("can't connect to the database: check --database-url, and that PostgreSQL runs")]
    Connect(#[source] tokio_postgres::Error),
    /// The database can't be reached by TLS.
    #[error(
        "can't connect to the database by TLS: check --database-url, that PostgreSQL runs with `ssl = on`, and that its \
         certificate is for the host in the URL and from a CA in database_tls.ca, or else in the system's roots; \
         sslmode=disable in the URL turns TLS off"
    )]
    ConnectByTls(#[source] tokio_postgres::Error),
    /// Certificates or keys can't be used.
    #[error("TLS can't be set up")]
    Tls(#[from] TlsError),
    /// The database failed.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// The database does not answer in time.
    #[error("the database does not answer: check --database-url, and that PostgreSQL runs")]
    NoAnswer,
    /// The database is not one on which keypool keeps its promises.
    #[error("{0}; {advice}", advice = .0.advice())]
    Unfit(Fault),
    /// The schema could not be migrated.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The schema is none that serves this version.
    #[error("{0}")]
    Schema(SchemaState),
    /// A background task ended before the service was told to stop.
    #[error("a task of the service has ended: {task}")]
    TaskEnded {
        /// Its name.
        task: TaskName,
    },
    /// An address can't be served.
    #[error(
        "can't listen on {address}: is something else running there? Choose another with --{flag}"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl ServerError {
    /// Whether waiting for the database may be all that is needed: nothing is wrong with the configuration.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            // The driver says so of what it does not even send.
            Self::Connect(error) | Self::ConnectByTls(error) => {
                !error.to_string().starts_with("invalid configuration")
            }
            Self::NoAnswer => true,
            Self::Unfit(fault) => fault.may_pass(),
            Self::Store(error)
            | Self::Migrate(
                MigrateError::Store(error) | MigrateError::Grant { source: error, .. },
            ) => error.may_pass(),
            Self::Migrate(error @ MigrateError::Migration(_)) => may_pass(error),
            _ => false,
        }
    }

    /// What is wrong with the database, which answers.
    pub(super) fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Unfit(fault) => Some(fault),
            Self::Store(error) | Self::Migrate(MigrateError::Store(error)) => error.fault(),
            _ => None,
        }
    }
}
