//! How a command ends.

use keypool_service::{cli::CliError, embedded::EmbeddedError, store::MigrateError};
use std::{io, time::Duration};

/// How a command that ran to its end ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every promise was kept.
    Kept,
    /// A promise was broken, or a call failed that must not.
    Broken,
}

/// Why a command could not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The private PostgreSQL failed.
    #[error("the private PostgreSQL failed")]
    Embedded(#[from] EmbeddedError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] tokio_postgres::Error),
    /// The schema could not be made.
    #[error("the schema could not be made")]
    Migrate(#[from] MigrateError),
    /// The service failed.
    #[error("the service failed")]
    Service(#[from] CliError),
    /// gRPC failed before any call was made.
    #[error("can't connect to {endpoint}")]
    Connect {
        /// Where to.
        endpoint: String,
        /// What the transport says.
        #[source]
        source: tonic::transport::Error,
    },
    /// The echo server failed.
    #[error("the echo server failed")]
    Echo(#[source] tonic::transport::Error),
    /// The SDK failed before anything was measured.
    #[error("the pools could not be prepared")]
    Prepare(#[source] keypool_client::Error),
    /// A call failed before anything was measured.
    #[error("the first call failed")]
    FirstCall(#[source] Box<tonic::Status>),
    /// Input or output failed.
    #[error("can't {what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Calls did not end.
    #[error("calls did not end within {0:?}")]
    Hang(Duration),
    /// A task panicked.
    #[error("a task of the load generator failed")]
    Task(#[from] tokio::task::JoinError),
    /// The plot could not be drawn.
    #[error("the plot could not be drawn: {0}")]
    Plot(String),
    /// The command line asks for what can't be.
    #[error("{0}")]
    Usage(String),
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Names what was tried, for `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}
