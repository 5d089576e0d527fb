//! Whom to trust, and who to be.

use std::fmt;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::ConfigError;

/// How the client knows the service, and the service the client. For `https` endpoints; see
/// [`ClientBuilder::tls`](crate::ClientBuilder::tls).
///
/// Unless roots are given, those of the features `tls-native-roots` and `tls-webpki-roots` are
/// trusted.
#[derive(Clone, Default)]
pub struct TlsConfig {
    roots: Vec<Vec<u8>>,
    identity: Option<Identity>,
    server_name: Option<String>,
}

impl TlsConfig {
    /// Trusts the roots of the features, and shows no certificate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these root certificates (PEM, one or several), and no others. Calls add up.
    #[must_use]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Shows this certificate, followed by its intermediates (PEM), to a service that asks for one,
    /// and proves it with this private key (PEM: PKCS#8, PKCS#1 or SEC1).
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate_pem: impl Into<Vec<u8>>,
        key_pem: impl Into<Vec<u8>>,
    ) -> Self {
        self.identity = Some(Identity::from_pem(certificate_pem.into(), key_pem.into()));
        self
    }

    /// The DNS name or IP address that the service's certificate must be for, in place of the
    /// endpoint's host.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    pub(super) fn for_server(self, host: &str) -> Result<ClientTlsConfig, ConfigError> {
        let mut config =
            ClientTlsConfig::new().domain_name(self.server_name.as_deref().unwrap_or(host));
        if self.roots.is_empty() {
            if cfg!(not(any(feature = "tls-native-roots", feature = "tls-webpki-roots"))) {
                return Err(ConfigError::NoRoots);
            }
            config = config.with_enabled_roots();
        }
        for pem in self.roots {
            // Without this check, no root at all would be as good as a wrong one.
            if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
                return Err(ConfigError::Tls("no root certificate in the PEM".into()));
            }
            config = config.ca_certificate(Certificate::from_pem(pem));
        }
        Ok(match self.identity {
            Some(identity) => config.identity(identity),
            None => config,
        })
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("roots", &self.roots.len())
            .field("client_certificate", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
