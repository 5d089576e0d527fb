//! What OpenMLS checks: above all the signatures, and the contents of the extensions it knows.

use super::{Rejection, RejectionReason, ValidKeyPackage, rules::Lifetime};
use crate::types::{CipherSuite, KeyPackageRef};
use openmls::{
    prelude::{KeyPackageIn, KeyPackageVerifyError, ProtocolVersion},
    treesync::errors::LifetimeError,
};
use openmls_rust_crypto::RustCrypto;
use std::sync::LazyLock;
use tls_codec::{Deserialize, Serialize};

/// The cryptography that decides which cipher suites there are.
pub(super) static CRYPTO: LazyLock<RustCrypto> = LazyLock::new(RustCrypto::default);

/// Verifies a package whose structure, reference and lifetime are known already.
pub(super) fn verify(
    bytes: &[u8],
    reference: &KeyPackageRef,
    (not_before, not_after): Lifetime,
) -> Result<ValidKeyPackage, Rejection> {
    let package = KeyPackageIn::tls_deserialize_exact(bytes)
        .map_err(|_| {
            let message = "has an extension that is malformed or not allowed in its place";
            RejectionReason::Invalid.because(message)
        })?
        .validate(&*CRYPTO, ProtocolVersion::Mls10)
        .map_err(|error| rejection_of(&error))?;
    // Inviters hash what they encode themselves: if that differs, their reference would, too.
    if package.tls_serialize_detached().ok().as_deref() != Some(bytes) {
        return Err(RejectionReason::Malformed.because("is not encoded as RFC 9420 demands"));
    }
    let leaf = package.leaf_node();
    Ok(ValidKeyPackage {
        reference: reference.clone(),
        cipher_suite: CipherSuite(package.ciphersuite().into()),
        init_key: package.hpke_init_key().as_slice().to_vec(),
        credential: leaf
            .credential()
            .tls_serialize_detached()
            .map_err(|_| RejectionReason::Malformed)?,
        signature_key: leaf.signature_key().as_slice().to_vec(),
        not_before,
        not_after,
        last_resort: package.last_resort(),
        bytes: bytes.to_vec(),
    })
}

fn rejection_of(error: &KeyPackageVerifyError) -> Rejection {
    let reason = reason_of(error);
    if reason == RejectionReason::ExtensionNotInCapabilities {
        // Those not listed were found before: OpenMLS 0.9 takes listed GREASE ones for unlisted.
        let message = "has an extension that OpenMLS does not find listed; leave GREASE out";
        return reason.because(message);
    }
    reason.into()
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
