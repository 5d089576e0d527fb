use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// TLS to PostgreSQL: whom to trust, and who to be. Whether TLS is used, the host and `sslmode` in the URL say.
///
/// The files are read once, at the start.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseTlsConfig {
    /// Root certificates, in PEM, that PostgreSQL's is verified with. Without it, those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate to show to PostgreSQL, and its intermediates, in PEM. Needs `key`.
    pub certificate: Option<PathBuf>,
    /// That certificate's private key, in PEM: PKCS#8, PKCS#1 or SEC1. Needs `certificate`.
    pub key: Option<PathBuf>,
}
