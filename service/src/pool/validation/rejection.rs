//! Why a KeyPackage is not taken into a pool.

use super::AmbiguousIdentity;
use crate::types::KeyPackageRef;
use std::fmt;

/// Which rule an uploaded KeyPackage breaks. Its text says what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RejectionReason {
    /// Not a KeyPackage struct (RFC 9420, section 10), or more than one.
    #[error("is not a KeyPackage; upload one bare TLS-encoded KeyPackage struct and nothing else")]
    Malformed,
    /// More bytes than the policy allows.
    #[error("is too large; upload a smaller KeyPackage")]
    TooLarge,
    /// A protocol version other than mls10 (RFC 9420, section 10.1).
    #[error("has an unsupported protocol version; use mls10")]
    UnsupportedProtocolVersion,
    /// A cipher suite that the service can't check (RFC 9420, section 17.1).
    #[error("has an unsupported cipher suite; use one that the service supports")]
    UnsupportedCipherSuite,
    /// A signature that does not verify (RFC 9420, sections 7.3 and 10.1).
    #[error("has an invalid signature; sign the KeyPackage and its leaf with the leaf's key")]
    InvalidSignature,
    /// The same init key and encryption key (RFC 9420, section 10.1).
    #[error("has an init key that equals its encryption key; generate two key pairs")]
    InitKeyEqualsEncryptionKey,
    /// A leaf that was not made for a KeyPackage (RFC 9420, section 7.3).
    #[error("has a leaf of another source; make its leaf with source key_package")]
    InvalidLeafNodeSource,
    /// A lifetime that begins in the future (RFC 9420, section 7.3).
    #[error("is not yet valid; let its lifetime begin a little in the past")]
    NotYetValid,
    /// A lifetime that has ended or is about to (RFC 9420, section 7.3).
    #[error("has expired or is about to; make a new KeyPackage")]
    Expired,
    /// A lifetime longer than the policy allows, endless, or inverted (RFC 9420, section 7.2).
    #[error("has an unacceptable lifetime; make a KeyPackage with a shorter one")]
    InvalidLifetime,
    /// An extension that the capabilities don't list (RFC 9420, sections 7.2 and 10).
    #[error("has an extension that its capabilities do not list; list it there")]
    ExtensionNotInCapabilities,
    /// A credential type that the capabilities don't list (RFC 9420, section 7.3).
    #[error("has a credential type that its capabilities do not list; list it there")]
    CredentialNotInCapabilities,
    /// A cipher suite that the capabilities don't list (RFC 9420, section 7.2).
    #[error("has a cipher suite that its capabilities do not list; list it there")]
    CipherSuiteNotInCapabilities,
    /// A credential that is not basic (RFC 9420, section 5.3).
    #[error("has an unsupported credential type; use a basic credential")]
    UnsupportedCredentialType,
    /// A credential of another user or device (RFC 9420, section 5.3.1).
    #[error("has a credential of another user or device; upload it for its own")]
    WrongIdentity,
    /// Ids whose identity another user and device have too (RFC 9420, section 5.3.1).
    #[error("is for ids whose identity another user and device have too; use other ids")]
    AmbiguousIdentity,
    /// An init key that another package of the user has (RFC 9420, section 10).
    #[error("has an init key that was used before; generate a new one for each KeyPackage")]
    InitKeyReused,
    /// A package that is in the pool of another device of the user.
    #[error("is in the pool of another device of this user; generate its own for each device")]
    BelongsToOtherDevice,
    /// A package that was spent.
    #[error("was spent; upload another, and keep its private key until its Welcome has come")]
    AlreadySpent,
    /// A package that was revoked.
    #[error("was revoked; make a new KeyPackage")]
    Revoked,
    /// A pool that has as many packages as it may.
    #[error("finds the pool full; upload it when others have been spent")]
    PoolFull,
    /// A user whose packages have as many bytes as they may.
    #[error(
        "exceeds the bytes that its user's packages may have; upload it when others have been spent or revoked"
    )]
    QuotaExceeded,
    /// A breach of another rule of RFC 9420.
    #[error("breaks a rule of RFC 9420; make a new KeyPackage")]
    Invalid,
}

impl RejectionReason {
    /// A rejection for this reason, with words of its own.
    #[must_use]
    pub fn because(self, message: impl Into<String>) -> Rejection {
        Rejection { reason: self, reference: None, message: message.into() }
    }
}

/// Why a KeyPackage was rejected, and which one if it could be read that far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The rule that it breaks.
    pub reason: RejectionReason,
    /// Its hash reference (RFC 9420, section 5.2); none if it has no readable structure.
    pub reference: Option<KeyPackageRef>,
    /// The reason in words, for a developer. Begins with a verb; the KeyPackage is its subject.
    pub message: String,
}

impl Rejection {
    /// The same rejection, naming the package.
    #[must_use]
    pub fn of(self, reference: KeyPackageRef) -> Self {
        Self { reference: Some(reference), ..self }
    }
}

impl From<RejectionReason> for Rejection {
    fn from(reason: RejectionReason) -> Self {
        reason.because(reason.to_string())
    }
}

impl From<AmbiguousIdentity> for Rejection {
    fn from(error: AmbiguousIdentity) -> Self {
        RejectionReason::AmbiguousIdentity.because(format!("can't be told from others': {error}"))
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPackage {}", self.message)
    }
}

impl std::error::Error for Rejection {}
