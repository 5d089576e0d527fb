//! The database's URL, with all of libpq's parameters: each is honoured, or named in an error with what to use.

mod parameters;
mod text;

#[cfg(test)]
mod tests;

use super::{ConfigError, DatabaseTlsConfig};
use parameters::Target;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where the database is, and with which password: never shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

/// What is wrong with a database URL. Shows nothing of it but the names of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// It is neither a URL nor a list of `key=value` pairs.
    #[error("not a PostgreSQL URL such as postgres://user:password@host/database")]
    NotOne,
    /// It does not say where the database is.
    #[error("names no host: write postgres://host/database, or host=/run/postgresql for a socket")]
    NoHost,
    /// It has an address only, and TLS verifies a name.
    #[error(
        "hostaddr alone can't be verified by TLS: add host, the name in the server's certificate"
    )]
    NoName,
    /// Hosts, addresses and ports don't fit together.
    #[error("several hosts need as many addresses in hostaddr, and one port or as many")]
    Hosts,
    /// A parameter is not one of libpq's. It is not shown: it may be part of a password with a character that has to be
    /// escaped.
    #[error(
        "parameter {position} is none that libpq knows; in a password, write %26 for &, %3F for ? and %40 for @"
    )]
    Unknown {
        /// Its number, from 1.
        position: usize,
    },
    /// A parameter has a value that it can't have.
    #[error("{parameter} must be {accepted}")]
    Value {
        /// The parameter.
        parameter: &'static str,
        /// What it can be.
        accepted: &'static str,
    },
    /// A parameter of libpq's asks for what keypool does not do.
    #[error("{parameter} is not supported: {instead}")]
    Unsupported {
        /// The parameter.
        parameter: &'static str,
        /// What to do.
        instead: &'static str,
    },
}

impl DatabaseUrl {
    /// Wraps a URL or a list of `key=value` pairs, as libpq takes them.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self(url)
    }

    /// Reads the URL. An `sslmode` of `verify-ca` or `verify-full` is read as `require`: whatever goes by TLS is verified in
    /// full.
    ///
    /// # Errors
    /// If it isn't one, or asks for what keypool does not do. The error does not show it.
    pub fn parse(&self) -> Result<tokio_postgres::Config, ConfigError> {
        Ok(self.target()?.config)
    }

    /// The files of `sslrootcert`, `sslcert` and `sslkey`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(super) fn tls(&self) -> Result<DatabaseTlsConfig, ConfigError> {
        Ok(self.target()?.tls)
    }

    fn target(&self) -> Result<Target, DatabaseUrlError> {
        Target::of(&text::pairs(&self.0)?)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}
