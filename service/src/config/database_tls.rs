use super::{Config, ConfigError};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// TLS to PostgreSQL: whom to trust, and who to be. Whether TLS is used, the host and `sslmode` in the URL say.
///
/// The files are read anew for each connection, so that they may be replaced while the service runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseTlsConfig {
    /// Root certificates, in PEM, that PostgreSQL's is verified with. Without it, those of the system. `sslrootcert` in the URL
    /// is the same.
    pub ca: Option<PathBuf>,
    /// The certificate to show to PostgreSQL, and its intermediates, in PEM. Needs `key`. `sslcert` in the URL is the same.
    pub certificate: Option<PathBuf>,
    /// That certificate's private key, in PEM: PKCS#8, PKCS#1 or SEC1. Needs `certificate`. `sslkey` in the URL is the same.
    pub key: Option<PathBuf>,
}

impl Config {
    /// TLS to PostgreSQL as the section `database_tls` and the URL say it together.
    ///
    /// # Errors
    /// If the URL can't be used, or both name a file of the same kind, and not the same file.
    pub fn database_tls(&self) -> Result<DatabaseTlsConfig, ConfigError> {
        let Some(url) = &self.database_url else { return Ok(self.database_tls.clone()) };
        let (section, url) = (&self.database_tls, url.tls()?);
        let file = |setting: &str, ours: &Option<PathBuf>, urls: Option<PathBuf>| match (ours, urls)
        {
            (Some(ours), Some(urls)) if *ours != urls => {
                Err(ConfigError::Invalid(vec![format!("{setting}: name one file, not two")]))
            }
            (ours, urls) => Ok(ours.clone().or(urls)),
        };
        Ok(DatabaseTlsConfig {
            ca: file("database_tls.ca and sslrootcert", &section.ca, url.ca)?,
            certificate: file(
                "database_tls.certificate and sslcert",
                &section.certificate,
                url.certificate,
            )?,
            key: file("database_tls.key and sslkey", &section.key, url.key)?,
        })
    }
}
