//! PEM files that settings name.

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use sha2::{Digest, Sha256};
use std::{
    io,
    path::{Path, PathBuf},
};

/// What is wrong with certificates and keys, with the setting to change.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{setting}: can't read {}", .path.display())]
    Unreadable {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{setting}: {} must hold {wanted} in PEM", .path.display())]
    NotPem {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong with it. Shows nothing of a key.
        #[source]
        source: pem::Error,
    },
    /// Certificates of a file can't be used as roots.
    #[error("{setting}: {} holds a certificate that can't be used", .path.display())]
    Roots {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// A certificate and its key can't be used, as when they are not of each other.
    #[error("{setting}: certificate and key can't be used; do they belong together?")]
    Pair {
        /// The section of the settings that name both.
        setting: &'static str,
        /// What is wrong with them.
        #[source]
        source: rustls::Error,
    },
    /// Nobody's certificate could be verified.
    #[error("the system has no root certificates: install them, or name some with {setting}")]
    NoSystemRoots {
        /// The setting that names others.
        setting: &'static str,
    },
    /// Client certificates can't be verified.
    #[error("{setting}: can't verify certificates with it")]
    Verifier {
        /// The setting that names the roots.
        setting: &'static str,
        /// Why not.
        #[source]
        source: rustls::client::VerifierBuilderError,
    },
}

/// The content of a PEM file. It may be a private key: it has no `Debug`.
pub(crate) struct PemFile {
    setting: &'static str,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl PemFile {
    /// Reads the file that a setting names.
    ///
    /// It blocks, but not for long: such files are small and near.
    pub(crate) fn read(setting: &'static str, path: &Path) -> Result<Self, TlsError> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self { setting, path: path.to_owned(), bytes }),
            Err(source) => Err(TlsError::Unreadable { setting, path: path.to_owned(), source }),
        }
    }

    /// What tells this content from another.
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }

    /// The certificates, at least one, in the order of the file.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let not_pem = |source| self.not_pem("certificates", source);
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.bytes)
            .collect::<Result<_, _>>()
            .map_err(not_pem)?;
        if certificates.is_empty() {
            Err(not_pem(pem::Error::NoItemsFound))
        } else {
            Ok(certificates)
        }
    }

    /// The certificates as roots to verify others with.
    pub(crate) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|source| TlsError::Roots {
                setting: self.setting,
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(roots)
    }

    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes)
            .map_err(|source| self.not_pem("an unencrypted private key", source))
    }

    fn not_pem(&self, wanted: &'static str, source: pem::Error) -> TlsError {
        TlsError::NotPem { setting: self.setting, path: self.path.clone(), wanted, source }
    }
}

/// The roots in the file that a setting names, else those of the system.
pub(crate) fn roots_or_system(
    setting: &'static str,
    file: Option<&Path>,
) -> Result<RootCertStore, TlsError> {
    if let Some(file) = file {
        return PemFile::read(setting, file)?.roots();
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some root certificates of the system can't be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(TlsError::NoSystemRoots { setting }) } else { Ok(roots) }
}
