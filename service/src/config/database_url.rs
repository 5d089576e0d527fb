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

    /// Reads the URL. An `sslmode` of `verify-ca` or `verify-full` is read as `require`: whatever goes by TLS is verified in
    /// full.
    ///
    /// # Errors
    /// If it isn't one. The error does not show it.
    pub fn parse(&self) -> Result<tokio_postgres::Config, ConfigError> {
        self.driver_url()
            .parse()
            .map_err(|_shows_the_url: tokio_postgres::Error| ConfigError::DatabaseUrl)
    }

    /// The URL in words that the driver knows.
    fn driver_url(&self) -> String {
        let plain = |parameter| match parameter {
            "sslmode=verify-ca" | "sslmode=verify-full" => "sslmode=require",
            other => other,
        };
        let is_url =
            ["postgres://", "postgresql://"].iter().any(|scheme| self.0.starts_with(scheme));
        match self.0.rsplit_once('?') {
            Some((start, parameters)) if is_url => {
                let parameters: Vec<_> = parameters.split('&').map(plain).collect();
                format!("{start}?{}", parameters.join("&"))
            }
            _ if is_url => self.0.clone(),
            _ => self.0.split(' ').map(plain).collect::<Vec<_>>().join(" "),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_postgres::config::SslMode;

    fn mode(url: &str) -> SslMode {
        DatabaseUrl::new(url.to_owned()).parse().unwrap().get_ssl_mode()
    }

    #[test]
    fn the_modes_of_libpq_that_verify_are_known() {
        for verifying in ["require", "verify-ca", "verify-full"] {
            for url in [
                format!("postgres://me:secret@db/keypool?sslmode={verifying}"),
                format!("postgresql://db?connect_timeout=3&sslmode={verifying}&user=me"),
                format!("host=db sslmode={verifying} user=me"),
            ] {
                assert_eq!(mode(&url), SslMode::Require, "{url}");
            }
        }
        assert_eq!(mode("postgres://db?sslmode=disable"), SslMode::Disable);
        let error = DatabaseUrl::new("postgres://db?sslmode=verify".to_owned()).parse();
        assert!(matches!(error, Err(ConfigError::DatabaseUrl)));
    }

    #[test]
    fn nothing_else_is_changed() {
        let url =
            "postgres://me:a?sslmode=verify-full@db?user=sslmode=verify-full&application_name=x";
        let config = DatabaseUrl::new(url.to_owned()).parse().unwrap();
        assert_eq!(config.get_password(), Some(b"a?sslmode=verify-full".as_slice()));
        assert_eq!(config.get_user(), Some("sslmode=verify-full"));
    }
}
