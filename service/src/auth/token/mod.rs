//! Bearer tokens: signed JWTs (RFC 7519, RFC 7515) of one issuer, whose keys are looked after here (RFC 7517).

mod claims;
mod error;
mod https;
mod key_set;
mod keys;
mod seen;
mod source;
mod verifier;

pub use error::TokenError;
pub(crate) use keys::read_keys;
pub(super) use verifier::{TokenVerifier, VerificationError};

#[cfg(test)]
mod tests;
