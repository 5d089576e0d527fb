use crate::{
    auth::{InvalidGrant, InvalidPrincipal},
    types::InvalidId,
};

/// Why a token is not accepted. The texts may be shown to the caller; none of them holds any part of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No issuer of tokens is configured.
    #[error("tokens are not accepted here")]
    NotAccepted,
    /// More than 8 KiB.
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// Not what RFC 7515 and RFC 7519 say, or by an algorithm that no key here could have.
    #[error("the token is not a JWT that is signed with RS256, ES256 or EdDSA")]
    Malformed,
    /// The header says `crit` (RFC 7515, section 4.1.11).
    #[error("the token demands an extension that is not known")]
    CriticalExtension,
    /// The header's `typ` is another than the configuration demands, or missing.
    #[error("the token is of another type")]
    WrongType,
    /// The header has no `kid`, and the issuer has more than one key.
    #[error("the token does not name its key")]
    NoKeyId,
    /// The issuer has no such key.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The header's algorithm is another than the key's.
    #[error("the token's algorithm is not that of its key")]
    WrongAlgorithm,
    /// The signature is not by the key.
    #[error("the token's signature is wrong")]
    WrongSignature,
    /// No `exp`, or not a number.
    #[error("the token does not say when it expires")]
    NoExpiry,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is another.
    #[error("the token is of another issuer")]
    WrongIssuer,
    /// `aud` has none of ours.
    #[error("the token is for another audience")]
    WrongAudience,
    /// No value of the roles' claim stands for a role.
    #[error("the token grants no role")]
    NoRole,
    /// A token is either a user's, with the roles `device` and `inviter`, or a service's, with the others.
    #[error("the token mixes roles of a user (device, inviter) with roles of a service")]
    MixedRoles,
    /// The claim with the user's or service's name is missing, or no text.
    #[error("the token names no user or service")]
    NoSubject,
    /// The user's or service's name can't be one.
    #[error("the token's user or service {0}")]
    InvalidSubject(InvalidPrincipal),
    /// The claim with the device's id is missing, or no text.
    #[error("the token names no device")]
    NoDevice,
    /// The device's id can't be one.
    #[error("the token's device {0}")]
    InvalidDevice(InvalidId),
    /// The claim with whom it may invite is no grant.
    #[error("the token's grant {0}")]
    InvalidGrant(InvalidGrant),
}

impl TokenError {
    /// A word for metrics.
    pub(in crate::auth) fn label(self) -> &'static str {
        match self {
            Self::NotAccepted => "not_accepted",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::CriticalExtension => "critical_extension",
            Self::WrongType => "wrong_type",
            Self::NoKeyId => "no_key_id",
            Self::UnknownKey => "unknown_key",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::WrongSignature => "wrong_signature",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::NoRole => "no_role",
            Self::MixedRoles => "mixed_roles",
            Self::NoSubject => "no_subject",
            Self::InvalidSubject(_) => "invalid_subject",
            Self::NoDevice => "no_device",
            Self::InvalidDevice(_) => "invalid_device",
            Self::InvalidGrant(_) => "invalid_grant",
        }
    }
}
