//! The settings of TLS, from the files that hold them.

use crate::{
    config::{ClientCertificates, TlsConfig},
    pem::{PemFile, TlsError},
    roots::Roots,
};
use jiff::Timestamp;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use std::sync::Arc;
use x509_parser::parse_x509_certificate;

/// gRPC needs HTTP/2, and gRPC-Web may come over HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

const CLIENT_CA: &str = "tls.client_ca";

/// When the certificate of a configuration ends, if all of its files can be used.
pub(crate) async fn certificate_expiry(
    settings: &TlsConfig,
) -> Result<Option<Timestamp>, TlsError> {
    let files = Files::read(settings).await?;
    files.server_config(settings.client_certificates.unwrap_or_default())?;
    Ok(files.expiry().and_then(|expiry| Timestamp::from_second(expiry).ok()))
}

/// What the files of a [`TlsConfig`] hold, at one moment.
pub(super) struct Files {
    certificate: PemFile,
    key: PemFile,
    client_ca: Option<PemFile>,
}

impl Files {
    pub(super) async fn read(settings: &TlsConfig) -> Result<Self, TlsError> {
        let client_ca = match &settings.client_ca {
            Some(path) => Some(PemFile::read(CLIENT_CA, path)?),
            None => None,
        };
        Ok(Self {
            certificate: PemFile::read("tls.certificate", &settings.certificate)?,
            key: PemFile::read("tls.key", &settings.key)?,
            client_ca,
        })
    }

    /// What tells these files from others. Their times don't: a symbolic link may be swapped for one to older files.
    pub(super) fn digests(&self) -> [Option<[u8; 32]>; 3] {
        let client_ca = self.client_ca.as_ref().map(PemFile::digest);
        [Some(self.certificate.digest()), Some(self.key.digest()), client_ca]
    }

    /// How to serve with them.
    pub(super) fn server_config(
        &self,
        clients: ClientCertificates,
    ) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = self.verifier(clients, &provider)?;
        let pair = |source| TlsError::Pair { setting: "tls.certificate, tls.key", source };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.certificate.certificates()?, self.key.private_key()?)
            .map_err(pair)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        if self.client_ca.is_some() {
            // A resumed session would not verify the certificate again, which may have ended since.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }

    fn verifier(
        &self,
        clients: ClientCertificates,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let Some(client_ca) = &self.client_ca else {
            return Ok(WebPkiClientVerifier::no_client_auth());
        };
        let verifier = Roots::of(client_ca)?.client_verifier(clients, provider.clone());
        verifier.map_err(|source| TlsError::Verifier { setting: CLIENT_CA, source })
    }

    /// When the certificate ends, in seconds since 1970.
    pub(super) fn expiry(&self) -> Option<i64> {
        let leaf: CertificateDer<'_> = self.certificate.certificates().ok()?.into_iter().next()?;
        let (_, leaf) = parse_x509_certificate(&leaf).ok()?;
        Some(leaf.validity().not_after.timestamp())
    }
}
