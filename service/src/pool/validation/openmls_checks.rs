//! What OpenMLS checks: above all the signatures, and the contents of the extensions it knows.

use super::{Rejection, RejectionReason};
use openmls::{
    prelude::{KeyPackageIn, KeyPackageVerifyError, ProtocolVersion},
    treesync::errors::LifetimeError,
};
use openmls_rust_crypto::RustCrypto;
use std::sync::LazyLock;
use tls_codec::{Deserialize, Serialize};

/// The cryptography that decides which cipher suites there are.
pub(super) static CRYPTO: LazyLock<RustCrypto> = LazyLock::new(RustCrypto::default);

/// Verifies a package that fulfils all of `rules`. Its cost is that of two signatures, whatever the package holds.
pub(super) fn verify(bytes: &[u8]) -> Result<(), Rejection> {
    let package = KeyPackageIn::tls_deserialize_exact(bytes).map_err(|_| {
        let message = "has an extension that is malformed or not allowed in its place";
        RejectionReason::Invalid.because(message)
    })?;
    // Inviters hash what they encode themselves: if that differs, their reference would, too.
    if package.tls_serialize_detached().ok().as_deref() != Some(bytes) {
        return Err(RejectionReason::Malformed.because("is not encoded as RFC 9420 demands"));
    }
    match package.validate(&*CRYPTO, ProtocolVersion::Mls10) {
        Ok(_) => Ok(()),
        // OpenMLS 0.9 takes GREASE extensions for unlisted even if they are listed (RFC 9420, section 13.5, allows them).
        // That those of this package are is known by now, and OpenMLS looks only after the signatures were good.
        Err(KeyPackageVerifyError::UnsupportedExtension) => Ok(()),
        Err(error) => Err(reason_of(&error).into()),
    }
}

fn reason_of(error: &KeyPackageVerifyError) -> RejectionReason {
    use KeyPackageVerifyError as Error;
    match error {
        Error::InvalidSignature | Error::InvalidLeafNodeSignature => {
            RejectionReason::InvalidSignature
        }
        Error::InvalidLeafNodeSourceType | Error::MissingLifetime => {
            RejectionReason::InvalidLeafNodeSource
        }
        Error::InitKeyEqualsEncryptionKey => RejectionReason::InitKeyEqualsEncryptionKey,
        Error::InvalidProtocolVersion => RejectionReason::UnsupportedProtocolVersion,
        Error::UnsupportedExtension => RejectionReason::ExtensionNotInCapabilities,
        // By the machine's clock, if it differs from the one that the lifetime was checked by.
        Error::LifetimeError(LifetimeError::Expired { .. }) => RejectionReason::Expired,
        Error::LifetimeError(LifetimeError::NotValidYet { .. }) => RejectionReason::NotYetValid,
        Error::LifetimeError(LifetimeError::SystemTimeBeforeUnixEpoch)
        | Error::ExtensionTypeNotValidInKeyPackage(_)
        | Error::LibraryError(_) => RejectionReason::Invalid,
    }
}
