//! What an uploaded KeyPackage must fulfil before it may enter a pool.
//!
//! OpenMLS verifies it, and `rules` adds what OpenMLS leaves out: first, because the signatures
//! cost more than everything else together.

mod identity;
mod keys;
mod openmls_checks;
mod rejection;
mod rules;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub use identity::{AmbiguousIdentity, IdentityTemplate, InvalidTemplate};
pub use rejection::{Rejection, RejectionReason};

use crate::types::{CipherSuite, DeviceId, KeyPackageRef, UserId};
use jiff::{SignedDuration, Timestamp};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What the service accepts where RFC 9420 leaves the choice to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationPolicy {
    /// The most bytes of one package. Default: 64 KiB.
    pub max_bytes: usize,
    /// The longest total lifetime (RFC 9420, section 7.2). Default: 90 days.
    pub max_lifetime: SignedDuration,
    /// The least time left until `not_after`: with less, nobody would get the package any more.
    /// Default: 10 minutes.
    pub min_remaining: SignedDuration,
    /// How a credential spells its user and device (RFC 9420, section 5.3.1).
    pub identity: IdentityTemplate,
}

impl Default for ValidationPolicy {
    fn default() -> Self {
        Self {
            max_bytes: 16 * 1024,
            max_lifetime: SignedDuration::from_hours(90 * 24),
            min_remaining: SignedDuration::from_mins(10),
            identity: IdentityTemplate::default(),
        }
    }
}

/// A KeyPackage (RFC 9420, section 10) that passed every check, and what the pool needs of it.
#[derive(Clone, PartialEq, Eq)]
pub struct ValidKeyPackage {
    /// Its hash reference (RFC 9420, section 5.2).
    pub reference: KeyPackageRef,
    /// Its cipher suite (RFC 9420, section 5.1).
    pub cipher_suite: CipherSuite,
    /// Its init key, unique among the packages of a user (RFC 9420, section 10).
    pub init_key: Vec<u8>,
    /// Its TLS-encoded `Credential` (RFC 9420, section 5.3).
    pub credential: Vec<u8>,
    /// Its leaf's signature key (RFC 9420, section 7.2).
    pub signature_key: Vec<u8>,
    /// Where its lifetime begins (RFC 9420, section 7.2).
    pub not_before: Timestamp,
    /// Where its lifetime ends: the first moment at which it is no longer valid.
    pub not_after: Timestamp,
    /// Whether it has the last_resort extension, and so may be handed out more than once
    /// (RFC 9420, section 16.8).
    pub last_resort: bool,
    /// The package, byte for byte as uploaded.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for ValidKeyPackage {
    /// Names the package without showing it: packages don't belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidKeyPackage")
            .field("reference", &self.reference)
            .field("cipher_suite", &self.cipher_suite)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .field("last_resort", &self.last_resort)
            .finish_non_exhaustive()
    }
}

/// Checks a TLS-encoded KeyPackage, uploaded for a device of a user, at a given time.
///
/// Applies RFC 9420, sections 5.1, 7.2, 7.3, 10 and 10.1, as far as one package alone can tell;
/// whether its init key is unique, only the pool knows. Takes about 0.2 ms: keep it off async threads.
///
/// # Errors
/// Says which rule the package breaks; the cheapest one to find if it breaks several.
pub fn validate(
    bytes: &[u8],
    user: &UserId,
    device: &DeviceId,
    policy: &ValidationPolicy,
    now: Timestamp,
) -> Result<ValidKeyPackage, Rejection> {
    contain_panics(|| {
        rules::size(bytes, policy.max_bytes)?;
        let suite = rules::header(bytes)?;
        let package = rules::decode(bytes)?;
        let reference = rules::reference(bytes, suite)?;
        let identity = policy.identity.identity_of(user, device).map_err(Rejection::from);
        let (not_before, not_after) = identity
            .and_then(|identity| rules::check(&package, suite, &identity, policy, now))
            .and_then(|lifetime| openmls_checks::verify(bytes).map(|()| lifetime))
            .map_err(|rejection| rejection.of(reference.clone()))?;
        Ok(ValidKeyPackage {
            reference,
            cipher_suite: CipherSuite(package.cipher_suite),
            credential: package.leaf_node.credential.encoded()?,
            last_resort: package.is_last_resort(),
            init_key: package.init_key.into(),
            signature_key: package.leaf_node.signature_key.into(),
            not_before,
            not_after,
            bytes: bytes.to_vec(),
        })
    })
}

/// Decoders meet hostile bytes here: if one of them panics, it costs that upload and nothing else.
fn contain_panics<T>(check: impl FnOnce() -> Result<T, Rejection>) -> Result<T, Rejection> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| {
        Err(RejectionReason::Invalid.because("could not be checked; make a new KeyPackage"))
    })
}
