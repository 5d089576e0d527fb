//! Whether a credential belongs to a user and device.

use openmls::prelude::{BasicCredential, Credential, SignaturePublicKey};

/// Decides whether a credential belongs to a user and device: the part of RFC 9420 that is left to
/// the application (section 5.3.1).
pub trait CredentialVerifier {
    /// Approves the credential and the signature key that come with it in a leaf node.
    ///
    /// # Errors
    ///
    /// [`WrongIdentity`] if they are not those of this device of this user.
    fn verify(
        &self,
        user_id: &str,
        device_id: &str,
        credential: &Credential,
        signature_key: &SignaturePublicKey,
    ) -> Result<(), WrongIdentity>;
}

/// Why a credential is not that of a user and device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongIdentity(pub String);

/// Basic credentials (RFC 9420, section 5.3) whose identity is made of the user and device ids.
///
/// A basic credential proves nothing by itself: whoever can upload for a device says which
/// signature key it has. Where that is not enough, implement [`CredentialVerifier`] and compare the
/// signature key with what your own directory knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicIdentity {
    template: String,
}

impl Default for BasicIdentity {
    /// The service's default: `{user_id}/{device_id}`.
    fn default() -> Self {
        Self::new("{user_id}/{device_id}")
    }
}

impl BasicIdentity {
    /// Identities after this template, in which `{user_id}` and `{device_id}` are replaced.
    ///
    /// Choose one in which no two devices have the same identity: with the default one, user ids
    /// must not contain a slash.
    pub fn new(template: impl Into<String>) -> Self {
        Self { template: template.into() }
    }

    /// The identity of a device.
    #[must_use]
    pub fn identity(&self, user_id: &str, device_id: &str) -> String {
        let around_user = self.template.split("{user_id}");
        let parts: Vec<_> =
            around_user.map(|part| part.replace("{device_id}", device_id)).collect();
        parts.join(user_id)
    }
}

impl CredentialVerifier for BasicIdentity {
    fn verify(
        &self,
        user_id: &str,
        device_id: &str,
        credential: &Credential,
        _signature_key: &SignaturePublicKey,
    ) -> Result<(), WrongIdentity> {
        let credential = BasicCredential::try_from(credential.clone())
            .map_err(|_| WrongIdentity("not a basic credential".into()))?;
        let expected = self.identity(user_id, device_id);
        if credential.identity() == expected.as_bytes() {
            return Ok(());
        }
        let found = String::from_utf8_lossy(credential.identity());
        Err(WrongIdentity(format!("the credential says {found:?}, not {expected:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(user_id: &str, device_id: &str, identity: &str) -> Result<(), WrongIdentity> {
        let credential = BasicCredential::new(identity.into()).into();
        let key = SignaturePublicKey::from(vec![1]);
        BasicIdentity::default().verify(user_id, device_id, &credential, &key)
    }

    #[test]
    fn the_identity_must_match_the_template() {
        assert_eq!(verify("bob", "phone", "bob/phone"), Ok(()));
        assert!(verify("bob", "phone", "bob/laptop").is_err());
        assert!(verify("bob", "phone", "bob/phone ").is_err());
        assert!(verify("bob", "phone", "").is_err());
    }

    #[test]
    fn ids_are_not_taken_for_placeholders() {
        let template = BasicIdentity::default();
        assert_eq!(template.identity("{device_id}", "{user_id}"), "{device_id}/{user_id}");
        assert_eq!(BasicIdentity::new("{device_id}@{user_id}").identity("a", "b"), "b@a");
    }
}
