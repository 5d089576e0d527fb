//! The cheap checks, and those that OpenMLS leaves to the application.

use super::{Rejection, RejectionReason, ValidationPolicy, keys, openmls_checks::CRYPTO, wire};
use crate::types::KeyPackageRef;
use jiff::{SignedDuration, Timestamp};
use openmls_traits::{crypto::OpenMlsCrypto, types::Ciphersuite};
use std::collections::HashSet;
use tls_codec::{Deserialize, Serialize, VLByteSlice};

/// The start and the end of a lifetime.
pub(super) type Lifetime = (Timestamp, Timestamp);

pub(super) fn size(bytes: &[u8], limit: usize) -> Result<(), Rejection> {
    if bytes.len() <= limit {
        return Ok(());
    }
    let size = bytes.len();
    let message = format!("has {size} bytes, but at most {limit} are accepted");
    Err(RejectionReason::TooLarge.because(message))
}

/// Reads the cipher suite, if the version and the suite can be handled at all.
pub(super) fn header(bytes: &[u8]) -> Result<Ciphersuite, Rejection> {
    let &[v0, v1, s0, s1, ref rest @ ..] = bytes else {
        return Err(RejectionReason::Malformed.into());
    };
    let version = u16::from_be_bytes([v0, v1]);
    if version != wire::MLS10 {
        let message = format!("has protocol version {version}; use mls10, which is 1");
        return Err(RejectionReason::UnsupportedProtocolVersion.because(message));
    }
    let suite = u16::from_be_bytes([s0, s1]);
    // The wire format of a wrapped KeyPackage is the number of a cipher suite, too.
    if suite == wire::MLS_KEY_PACKAGE && decode(rest).is_ok_and(|it| it.version == wire::MLS10) {
        let message = "is wrapped in an MLSMessage; upload the bare KeyPackage struct";
        return Err(RejectionReason::Malformed.because(message));
    }
    supported(suite).ok_or_else(|| {
        let suites = CRYPTO.supported_ciphersuites().into_iter().map(u16::from);
        let suites: Vec<_> = suites.map(|suite| suite.to_string()).collect();
        let message = format!("has cipher suite {suite}; use one of {}", suites.join(", "));
        RejectionReason::UnsupportedCipherSuite.because(message)
    })
}

fn supported(suite: u16) -> Option<Ciphersuite> {
    let suite = Ciphersuite::try_from(suite).ok()?;
    CRYPTO.supports(suite).ok().map(|()| suite)
}

/// Takes the bytes apart. All of them must belong to the one KeyPackage.
pub(super) fn decode(bytes: &[u8]) -> Result<wire::KeyPackage, Rejection> {
    wire::KeyPackage::tls_deserialize_exact(bytes).map_err(|_| RejectionReason::Malformed.into())
}

/// The hash reference of a package (RFC 9420, section 5.2).
pub(super) fn reference(bytes: &[u8], suite: Ciphersuite) -> Result<KeyPackageRef, Rejection> {
    let input = (VLByteSlice(b"MLS 1.0 KeyPackage Reference"), VLByteSlice(bytes));
    let hash = input.tls_serialize_detached().ok().and_then(|input| {
        let hash = CRYPTO.hash(suite.hash_algorithm(), &input).ok()?;
        KeyPackageRef::new(hash).ok()
    });
    hash.ok_or_else(|| RejectionReason::Invalid.into())
}

/// Checks all that can be told without OpenMLS, and reads the lifetime.
pub(super) fn check(
    package: &wire::KeyPackage,
    suite: Ciphersuite,
    identity: &str,
    policy: &ValidationPolicy,
    now: Timestamp,
) -> Result<Lifetime, Rejection> {
    let lifetime = lifetime(package.lifetime()?, policy, now)?;
    keys::check(package, suite)?;
    capabilities(package)?;
    extensions(package)?;
    credential(&package.leaf_node.credential, identity)?;
    Ok(lifetime)
}

/// The capabilities must list what the package itself uses (RFC 9420, sections 7.2 and 7.3).
/// What else they list does not matter: it may be unknown, or GREASE (section 13.5).
fn capabilities(package: &wire::KeyPackage) -> Result<(), Rejection> {
    let listed = &package.leaf_node.capabilities;
    let credential_type = package.leaf_node.credential.credential_type;
    if !listed.versions.contains(&package.version) {
        let message = "has a protocol version that its capabilities do not list; list it there";
        return Err(RejectionReason::Invalid.because(message));
    }
    if !listed.cipher_suites.contains(&package.cipher_suite) {
        return Err(RejectionReason::CipherSuiteNotInCapabilities.into());
    }
    if !listed.credentials.contains(&credential_type) {
        return Err(RejectionReason::CredentialNotInCapabilities.into());
    }
    Ok(())
}

/// No extension twice (RFC 9420, section 13.4), and each listed in the capabilities (section 7.2).
fn extensions(package: &wire::KeyPackage) -> Result<(), Rejection> {
    let leaf = &package.leaf_node;
    let listed: HashSet<u16> = leaf.capabilities.extensions.iter().copied().collect();
    for extensions in [&package.extensions, &leaf.extensions] {
        let mut seen = HashSet::new();
        for kind in extensions.iter().map(|extension| extension.extension_type) {
            if !seen.insert(kind) {
                let message = format!("has the extension {kind:#06x} twice");
                return Err(RejectionReason::Invalid.because(message));
            }
            if !is_default_extension(kind) && !listed.contains(&kind) {
                let message = format!("has the extension {kind:#06x}; list it in its capabilities");
                return Err(RejectionReason::ExtensionNotInCapabilities.because(message));
            }
        }
    }
    Ok(())
}

/// The extensions that every client supports, so that nobody lists them (RFC 9420, section 7.2).
fn is_default_extension(extension_type: u16) -> bool {
    (1..=5).contains(&extension_type)
}

/// The credential must be that of the user and device (RFC 9420, section 5.3.1).
fn credential(credential: &wire::Credential, identity: &str) -> Result<(), Rejection> {
    if credential.credential_type != wire::BASIC {
        return Err(RejectionReason::UnsupportedCredentialType.into());
    }
    if credential.content.as_slice() != identity.as_bytes() {
        let message = format!("has a credential of another user or device, not of {identity:?}");
        return Err(RejectionReason::WrongIdentity.because(message));
    }
    Ok(())
}

/// Reads the lifetime, which must be neither too long nor over (RFC 9420, sections 7.2 and 7.3).
fn lifetime(
    lifetime: wire::Lifetime,
    policy: &ValidationPolicy,
    now: Timestamp,
) -> Result<Lifetime, Rejection> {
    let (Some(not_before), Some(not_after)) =
        (timestamp(lifetime.not_before), timestamp(lifetime.not_after))
    else {
        let message = "has a lifetime that no calendar reaches; shorten it";
        return Err(RejectionReason::InvalidLifetime.because(message));
    };
    let total = not_after.duration_since(not_before);
    if total <= SignedDuration::ZERO {
        let message = "has a lifetime that ends before it begins; swap its ends";
        return Err(RejectionReason::InvalidLifetime.because(message));
    }
    if total > policy.max_lifetime {
        let limit = policy.max_lifetime;
        let message = format!("has a lifetime of {total:#}, but at most {limit:#} are accepted");
        return Err(RejectionReason::InvalidLifetime.because(message));
    }
    if now < not_before {
        let message = format!("is not valid before {not_before}; it is {now} here");
        return Err(RejectionReason::NotYetValid.because(message));
    }
    if not_after <= now {
        let message = format!("has expired at {not_after}; make a new KeyPackage");
        return Err(RejectionReason::Expired.because(message));
    }
    if not_after.duration_since(now) < policy.min_remaining {
        let message = format!("expires so soon, at {not_after}, that nobody would get it");
        return Err(RejectionReason::Expired.because(message));
    }
    Ok((not_before, not_after))
}

/// A time of the wire, unless it is later than any calendar reaches.
fn timestamp(seconds: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}
