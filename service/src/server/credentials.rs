//! Password and certificates for the database, which may be replaced while the service runs.

use super::ServerError;
use crate::{
    causes::causes,
    config::{Config, ConfigError, DatabaseTlsConfig},
    pem::{PemFile, TlsError},
    roots::Roots,
    store::{Connector, Credentials, needs_tls},
    telemetry::Burst,
};
use rustls::{ClientConfig, crypto::ring};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The files that the configuration names.
struct Files {
    password: Option<PathBuf>,
    /// None in plain text.
    tls: Option<TlsFiles>,
}

struct TlsFiles {
    settings: DatabaseTlsConfig,
    /// Unless the settings name others. Read once: they are many.
    system_roots: Option<Roots>,
}

/// How to connect to the database of a URL, with what is in the files at that moment. If they can't be read any more, what was
/// in them last is used.
///
/// # Errors
/// If they can't be read now.
pub(super) fn connector(
    config: &Config,
    url: tokio_postgres::Config,
) -> Result<Connector, ServerError> {
    let tls = if needs_tls(&url) { Some(TlsFiles::new(config.database_tls()?)?) } else { None };
    let files = Files { password: config.database_password_file.clone(), tls };
    let last = Mutex::new(files.read()?);
    Ok(Connector::new(url, move || {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match files.read() {
            Ok(read) => *last = read,
            Err(error) => {
                static BURST: Burst = Burst::new();
                if BURST.may_log() {
                    let error = causes(&error);
                    tracing::warn!(error, "what was read before is used for the database");
                }
            }
        }
        last.clone()
    }))
}

impl Files {
    /// It blocks, but not for long: such files are small and near.
    fn read(&self) -> Result<Credentials, ServerError> {
        let password = self.password.as_deref().map(password).transpose()?;
        let tls = self.tls.as_ref().map(TlsFiles::read).transpose()?;
        Ok(Credentials { password, tls })
    }
}

/// The password in a file, without the end of its line.
fn password(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let error = |source| ConfigError::PasswordFile { path: path.to_owned(), source };
    let mut password = fs::read(path).map_err(error)?;
    while password.pop_if(|last| matches!(last, b'\n' | b'\r')).is_some() {}
    if password.is_empty() {
        return Err(error(io::Error::other("it is empty")));
    }
    Ok(password)
}

impl TlsFiles {
    fn new(settings: DatabaseTlsConfig) -> Result<Self, TlsError> {
        let system_roots = match settings.ca {
            Some(_) => None,
            None => Some(Roots::of_system(CA)?),
        };
        Ok(Self { settings, system_roots })
    }

    /// TLS that is verified in full, chain and host name.
    fn read(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = match (&self.settings.ca, &self.system_roots) {
            (Some(ca), _) => Roots::read(CA, ca)?,
            (None, Some(roots)) => roots.clone(),
            (None, None) => Roots::of_system(CA)?,
        };
        let verifier = roots.server_verifier(provider.clone());
        let verifier = verifier.map_err(|source| TlsError::Verifier { setting: CA, source })?;
        let pair = |source| TlsError::Pair {
            setting: "database_tls.certificate, database_tls.key",
            source,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&self.settings.certificate, &self.settings.key) {
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
        Ok(Arc::new(config))
    }
}

/// The setting that names root certificates.
const CA: &str = "database_tls.ca";
