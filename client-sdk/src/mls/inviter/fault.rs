//! What can be wrong with a package that was handed out.

use keypool_proto::v1::UnusableReason;
use openmls::prelude::KeyPackageVerifyError;
use openmls::treesync::errors::LifetimeError;

use crate::mls::WrongIdentity;

/// What is wrong with a package that the service handed out.
///
/// Some faults are its device's, and some are the service's: it mixed something up, or lies.
///
/// A package is reported as unusable, and so may be taken from everybody, only for what every correct
/// client must find: the bytes, and what the service says of them, are all that counts. What depends on this
/// process's clock, the application's rules, the group or what OpenMLS knows is a reason to give the
/// package back, and to leave its device out.
///
/// | fault | what the service is told |
/// | --- | --- |
/// | [`Malformed`](Self::Malformed) | [`UnusableReason::Malformed`] |
/// | [`InvalidSignature`](Self::InvalidSignature) | [`UnusableReason::InvalidSignature`] |
/// | [`WrongRef`](Self::WrongRef), [`WrongCipherSuite`](Self::WrongCipherSuite), [`WrongLastResort`](Self::WrongLastResort) | [`UnusableReason::Other`] |
/// | [`Invalid`](Self::Invalid): the init key is the encryption key, or the leaf node is not one of a KeyPackage | [`UnusableReason::Other`] |
/// | all others | nothing: given back |
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PackageFault {
    /// The bytes are not exactly one KeyPackage (RFC 9420, section 10).
    #[error("the bytes are not exactly one KeyPackage")]
    Malformed,

    /// The bytes may be a KeyPackage, and OpenMLS can't read them, or not without changing them.
    #[error("the package has something that OpenMLS can't read")]
    Unreadable,

    /// The reservation spent the package long ago, or after it was revoked, and the service does not store its
    /// bytes any more. Nothing is wrong with it: invite the device anew.
    #[error("the package was spent, and the service does not store its bytes any more")]
    Forgotten,

    /// A signature does not verify (RFC 9420, sections 7.3 and 10.1).
    #[error("a signature does not verify")]
    InvalidSignature,

    /// Now is outside the lifetime (RFC 9420, section 7.3).
    #[error("{0}")]
    Lifetime(LifetimeError),

    /// The lifetime is longer than the inviter accepts (RFC 9420, section 7.2).
    #[error("the lifetime is longer than accepted")]
    LifetimeTooLong,

    /// Another rule for KeyPackages is broken (RFC 9420, section 10.1).
    #[error("{0}")]
    Invalid(KeyPackageVerifyError),

    /// The leaf node uses what its own capabilities do not list (RFC 9420, section 7.3).
    #[error("the capabilities lack what the leaf node itself uses: {0}")]
    InconsistentCapabilities(&'static str),

    /// The capabilities lack what this group needs (RFC 9420, sections 7.2 and 7.3). The package may
    /// be good for other groups.
    #[error("the capabilities lack what the group needs: {0}")]
    UnsupportedCapabilities(&'static str),

    /// The credential is not that of the user and device asked for.
    #[error("wrong identity: {0}")]
    WrongIdentity(#[from] WrongIdentity),

    /// A key of the package is in the group already: the device is a member.
    #[error("the device is a member of the group already")]
    AlreadyMember,

    /// The service names the package by a ref that is not its own.
    #[error("the KeyPackageRef is not that of the package")]
    WrongRef,

    /// The package, or what the service says about it, is of another cipher suite than the group.
    #[error("the cipher suite is not the group's")]
    WrongCipherSuite,

    /// The service hands the package out as last resort, that is to many, and it is not marked so; or
    /// the other way round.
    #[error("the last_resort mark is not what the service says")]
    WrongLastResort,

    /// The package has a key in common with one of another device of the reservation.
    #[error("the package shares a key with another one of the reservation")]
    Duplicate,
}

impl PackageFault {
    /// What to tell the service: unspecified for packages that others may be able to use.
    pub(super) fn unusable_reason(&self) -> UnusableReason {
        use KeyPackageVerifyError::{InitKeyEqualsEncryptionKey, InvalidLeafNodeSourceType};
        match self {
            Self::Malformed => UnusableReason::Malformed,
            Self::InvalidSignature => UnusableReason::InvalidSignature,
            Self::Invalid(InitKeyEqualsEncryptionKey | InvalidLeafNodeSourceType)
            | Self::WrongRef
            | Self::WrongCipherSuite
            | Self::WrongLastResort => UnusableReason::Other,
            Self::Forgotten
            | Self::Unreadable
            | Self::Invalid(_)
            | Self::Lifetime(_)
            | Self::LifetimeTooLong
            | Self::InconsistentCapabilities(_)
            | Self::UnsupportedCapabilities(_)
            | Self::WrongIdentity(_)
            | Self::AlreadyMember
            | Self::Duplicate => UnusableReason::Unspecified,
        }
    }

    /// Whether the package is reported, so that the device's next one takes its place. A package that is
    /// given back may come again.
    pub(super) fn is_reported(&self) -> bool {
        self.unusable_reason() != UnusableReason::Unspecified
    }
}

impl From<KeyPackageVerifyError> for PackageFault {
    fn from(error: KeyPackageVerifyError) -> Self {
        match error {
            KeyPackageVerifyError::InvalidSignature
            | KeyPackageVerifyError::InvalidLeafNodeSignature => Self::InvalidSignature,
            KeyPackageVerifyError::LifetimeError(error) => Self::Lifetime(error),
            error => Self::Invalid(error),
        }
    }
}
