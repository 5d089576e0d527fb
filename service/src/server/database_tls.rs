//! How TLS to PostgreSQL is done: verified in full, chain and host name.

use crate::{
    config::DatabaseTlsConfig,
    pem::{PemFile, TlsError, roots_or_system},
};
use rustls::{ClientConfig, crypto::ring};
use std::sync::Arc;

/// Reads whom to trust and who to be.
pub(super) fn client_config(settings: &DatabaseTlsConfig) -> Result<ClientConfig, TlsError> {
    let roots = roots_or_system("database_tls.ca", settings.ca.as_deref())?;
    let pair =
        |source| TlsError::Pair { setting: "database_tls.certificate, database_tls.key", source };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_root_certificates(roots);
    let mut config = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => {
            let certificate = PemFile::read("database_tls.certificate", certificate)?;
            let key = PemFile::read("database_tls.key", key)?;
            config
                .with_client_auth_cert(certificate.certificates()?, key.private_key()?)
                .map_err(pair)?
        }
        // The check of the configuration has refused one without the other.
        _ => config.with_no_client_auth(),
    };
    // For sslnegotiation=direct.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(config)
}
