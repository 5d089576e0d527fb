use super::ConfigError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where the database is, and with which password: never shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Wraps an URL or a list of `key=value` pairs, as libpq takes them.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self(url)
    }

    /// Reads the URL.
    ///
    /// # Errors
    /// If it isn't one. The error does not show it.
    pub fn parse(&self) -> Result<tokio_postgres::Config, ConfigError> {
        self.0.parse().map_err(|_shows_the_url: tokio_postgres::Error| ConfigError::DatabaseUrl)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}
