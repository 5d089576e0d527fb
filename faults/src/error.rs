//! How a command ends.

use crate::history::Incident;
use keypool_service::{config::ConfigError, server::ServerError};
use std::{io, process::ExitCode};

/// How a command that ran to its end ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every promise was kept.
    Kept,
    /// A promise was broken.
    Broken,
    /// Too little happened to say either.
    ShowsNothing,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Kept => 0,
            Outcome::Broken => 1,
            Outcome::ShowsNothing => COULD_NOT_RUN,
        })
    }
}

/// What the process exits with if nothing could be shown. 1 is for a broken promise.
pub(crate) const COULD_NOT_RUN: u8 = 2;

/// Why a command could not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database failed where nothing was to fail.
    #[error("the database failed")]
    Database(#[from] tokio_postgres::Error),
    /// The configuration of a replica is wrong.
    #[error("the configuration of a replica is wrong")]
    Config(#[from] ConfigError),
    /// A replica failed.
    #[error("a replica failed")]
    Server(#[from] ServerError),
    /// The SDK could not be set up.
    #[error("the SDK could not be set up")]
    Client(#[from] keypool_client::Error),
    /// Input or output failed.
    #[error("can't {what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A task panicked.
    #[error("a task failed")]
    Task(#[from] tokio::task::JoinError),
    /// The service went wrong, which is a violation.
    #[error("{0}")]
    Service(Incident),
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
