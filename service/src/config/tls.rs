use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// TLS for callers. Without this section, gRPC is served in plain text.
///
/// The files are read again while the service runs; new connections use what they hold then.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The service's certificate and its intermediates, in PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, in PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// Root certificates, in PEM, that client certificates are verified with. Without it, no client is asked for one.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether clients must show a certificate; they need not unless this says so. Needs `client_ca`.
    #[serde(default)]
    pub client_certificates: Option<ClientCertificates>,
    /// How often the files are read again.
    #[serde(default = "default_reload_interval")]
    pub reload_interval: SignedDuration,
}

impl TlsConfig {
    /// TLS with a certificate and its key, without client certificates.
    #[must_use]
    pub fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self {
            certificate,
            key,
            client_ca: None,
            client_certificates: None,
            reload_interval: default_reload_interval(),
        }
    }
}

/// Whether clients must show a certificate. One that is shown and can't be verified ends the connection in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// A client may show one.
    #[default]
    Optional,
    /// A client without one is refused.
    Required,
}

fn default_reload_interval() -> SignedDuration {
    SignedDuration::from_secs(10)
}
