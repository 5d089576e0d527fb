//! Whether a credential belongs to a user and device.

use std::collections::BTreeSet;

use openmls::prelude::{BasicCredential, Credential, SignaturePublicKey};

use super::UntrustedDevices;

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

    /// Approves the devices that an answer of the service lists for a user, before any of them is added.
    /// [`verify`](Self::verify) decides about each of their packages all the same.
    ///
    /// Unless implemented, any list is approved: which devices a user has is then for the service to say.
    ///
    /// # Errors
    ///
    /// [`UntrustedDevices`] if nobody may be added by this answer.
    fn verify_devices(&self, listed: &ListedDevices<'_>) -> Result<(), UntrustedDevices> {
        let _ = listed;
        Ok(())
    }
}

/// What an answer of the service says about the devices of one user.
#[derive(Debug)]
#[non_exhaustive]
pub struct ListedDevices<'a> {
    /// The user.
    pub user_id: &'a str,
    /// The devices that were asked for.
    pub asked: Asked,
    /// Each device that the answer has a package for, or a reason why there is none.
    pub devices: Vec<ListedDevice<'a>>,
}

/// Which devices of a user were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// Devices by name. The answer says nothing about others.
    Some,
    /// All devices but these. A device that the answer does not list is one that the user does not have,
    /// as the service says.
    AllBut(BTreeSet<String>),
}

/// A device that an answer lists.
#[derive(Debug)]
#[non_exhaustive]
pub struct ListedDevice<'a> {
    /// The device.
    pub device_id: &'a str,
    /// The credential and the signature key of its package. `None` if there is no package, or a broken
    /// one.
    pub identity: Option<(&'a Credential, &'a SignaturePublicKey)>,
}

/// Why a credential is not that of a user and device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongIdentity(pub String);

/// Basic credentials (RFC 9420, section 5.3) whose identity is made of the user and device ids.
///
/// A basic credential proves nothing by itself: whoever can upload for a device says which
/// signature key it has. [`PinnedDevices`](super::PinnedDevices) remembers the keys that it has seen. Or
/// implement [`CredentialVerifier`], and compare the signature key with what your own directory knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicIdentity {
    before: String,
    ids: Ids,
    after: String,
}

/// Which ids an identity spells, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ids {
    User,
    UserThenDevice { separator: String },
    DeviceThenUser { separator: String },
}

/// Why a text is not a template for [`BasicIdentity`]. Says what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTemplate {
    /// No `{user_id}`: every user would have the same identity.
    #[error("the placeholder {{user_id}} is missing")]
    NoUserId,
    /// A placeholder more than once.
    #[error("a placeholder may appear only once")]
    Repeated,
    /// Nothing between the placeholders: `ab` and `c` would have the identity of `a` and `bc`.
    #[error("{{user_id}} and {{device_id}} need a separator between them, such as /")]
    NoSeparator,
}

/// The identity of a user and device also spells another user and device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the identity {identity:?} also spells another user and device; use ids without {separator:?}"
)]
pub struct AmbiguousIdentity {
    /// The identity.
    pub identity: String,
    /// The separator of the template.
    pub separator: String,
}

const USER_ID: &str = "{user_id}";
const DEVICE_ID: &str = "{device_id}";

/// The most bytes of an id (keypool.v1).
const MAX_ID_BYTES: usize = 255;

impl Default for BasicIdentity {
    /// The service's default: `{user_id}/{device_id}`.
    fn default() -> Self {
        let ids = Ids::UserThenDevice { separator: "/".to_owned() };
        Self { before: String::new(), ids, after: String::new() }
    }
}

impl BasicIdentity {
    /// Identities after this template, in which `{user_id}` and `{device_id}` are replaced: the
    /// one that the service has as `validation.credential_identity`.
    ///
    /// # Errors
    ///
    /// If it does not tell users, or devices, apart.
    pub fn new(template: &str) -> Result<Self, InvalidTemplate> {
        let is_repeated = |placeholder| template.matches(placeholder).count() > 1;
        if is_repeated(USER_ID) || is_repeated(DEVICE_ID) {
            return Err(InvalidTemplate::Repeated);
        }
        let (before, after) = template.split_once(USER_ID).ok_or(InvalidTemplate::NoUserId)?;
        let (before, ids, after) = match (before.split_once(DEVICE_ID), after.split_once(DEVICE_ID))
        {
            (None, None) => (before, Ids::User, after),
            (None, Some(("", _))) | (Some((_, "")), _) => {
                return Err(InvalidTemplate::NoSeparator);
            }
            (None, Some((separator, after))) => {
                (before, Ids::UserThenDevice { separator: separator.to_owned() }, after)
            }
            (Some((before, separator)), _) => {
                (before, Ids::DeviceThenUser { separator: separator.to_owned() }, after)
            }
        };
        Ok(Self { before: before.to_owned(), ids, after: after.to_owned() })
    }

    /// The identity of a device.
    ///
    /// # Errors
    ///
    /// If another user and device have the same identity, as `alice/x` and `phone` have that of
    /// `alice` and `x/phone` with the default template.
    pub fn identity(&self, user_id: &str, device_id: &str) -> Result<String, AmbiguousIdentity> {
        let (first, separator, second) = match &self.ids {
            Ids::User => return Ok(format!("{}{user_id}{}", self.before, self.after)),
            Ids::UserThenDevice { separator } => (user_id, separator, device_id),
            Ids::DeviceThenUser { separator } => (device_id, separator, user_id),
        };
        let ids = format!("{first}{separator}{second}");
        let is_ambiguous = splits(&ids, separator).any(|(other, _)| other != first);
        let identity = format!("{}{ids}{}", self.before, self.after);
        if is_ambiguous {
            return Err(AmbiguousIdentity { identity, separator: separator.clone() });
        }
        Ok(identity)
    }
}

/// All pairs of ids that give this text with the separator between them.
fn splits<'a>(text: &'a str, separator: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_id = |id: &str| (1..=MAX_ID_BYTES).contains(&id.len());
    text.char_indices()
        .filter_map(move |(at, _)| Some((&text[..at], text[at..].strip_prefix(separator)?)))
        .filter(move |(first, second)| is_id(first) && is_id(second))
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
        let expected =
            self.identity(user_id, device_id).map_err(|error| WrongIdentity(error.to_string()))?;
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
        let identity = template.identity("{device_id}", "{user_id}");
        assert_eq!(identity.unwrap(), "{device_id}/{user_id}");
        let template = BasicIdentity::new("{device_id}@{user_id}").unwrap();
        assert_eq!(template.identity("a", "b").unwrap(), "b@a");
    }

    #[test]
    fn a_credential_of_two_devices_proves_neither() {
        for (user_id, device_id) in [("alice/x", "phone"), ("alice", "x/phone")] {
            let error = verify(user_id, device_id, "alice/x/phone").unwrap_err();
            assert!(error.to_string().contains("another user and device"), "{error}");
        }
        let template = BasicIdentity::new("{device_id}::{user_id}").unwrap();
        assert!(template.identity(":a", "b").is_err());
        assert_eq!(template.identity("a:", "b/c").unwrap(), "b/c::a:");
        let users = BasicIdentity::new("{user_id}").unwrap();
        assert_eq!(users.identity("a/b", "c").unwrap(), "a/b");
    }

    #[test]
    fn a_template_tells_users_and_devices_apart() {
        for (template, error) in [
            ("", InvalidTemplate::NoUserId),
            ("{device_id}", InvalidTemplate::NoUserId),
            ("{user_id}{device_id}", InvalidTemplate::NoSeparator),
            ("{device_id}{user_id}!", InvalidTemplate::NoSeparator),
            ("{user_id}/{user_id}", InvalidTemplate::Repeated),
        ] {
            assert_eq!(BasicIdentity::new(template), Err(error), "{template}");
        }
    }
}
