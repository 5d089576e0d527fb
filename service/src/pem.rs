//! PEM files that settings name.

use crate::roots::OutOfDate;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
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
    /// None of the roots in a file is valid at this time.
    #[error("{setting}: {fault}, and {} holds no other that is valid: renew it", .path.display())]
    RootDates {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with one of them.
        fault: OutOfDate,
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

    /// The error that a certificate in it can't be used as a root.
    pub(crate) fn unusable(&self, source: rustls::Error) -> TlsError {
        TlsError::Roots { setting: self.setting, path: self.path.clone(), source }
    }

    /// The error that none of the roots in it is valid at this time.
    pub(crate) fn out_of_date(&self, fault: OutOfDate) -> TlsError {
        TlsError::RootDates { setting: self.setting, path: self.path.clone(), fault }
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
