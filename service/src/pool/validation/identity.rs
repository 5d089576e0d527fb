//! How a credential's identity spells a user and a device.

use crate::types::{DeviceId, MAX_ID_BYTES, UserId};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

const USER_ID: &str = "{user_id}";
const DEVICE_ID: &str = "{device_id}";

/// How the identity of a basic credential (RFC 9420, section 5.3) spells user and device.
///
/// `{user_id}` and `{device_id}` stand for the ids, at most once each, all else for itself. The
/// default is `{user_id}/{device_id}`. Without `{device_id}`, all devices of a user have the same
/// identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityTemplate {
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

/// Why a text is not an [`IdentityTemplate`]. Says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A placeholder that does not exist.
    #[error("unknown placeholder {{{0}}}; there are {{user_id}} and {{device_id}}")]
    UnknownPlaceholder(String),
    /// A placeholder without an end.
    #[error("a placeholder lacks its closing brace")]
    UnclosedPlaceholder,
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

impl IdentityTemplate {
    /// The identity that a credential of this device of this user must have.
    ///
    /// # Errors
    /// If another user and device have the same identity: it does not prove which of them it is.
    pub fn identity_of(
        &self,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<String, AmbiguousIdentity> {
        let (user, device) = (user.as_str(), device.as_str());
        let (first, separator, second) = match &self.ids {
            Ids::User => return Ok(format!("{}{user}{}", self.before, self.after)),
            Ids::UserThenDevice { separator } => (user, separator, device),
            Ids::DeviceThenUser { separator } => (device, separator, user),
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

impl Default for IdentityTemplate {
    fn default() -> Self {
        let ids = Ids::UserThenDevice { separator: "/".into() };
        Self { before: String::new(), ids, after: String::new() }
    }
}

impl FromStr for IdentityTemplate {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_placeholders(text)?;
        let (before, after) = text.split_once(USER_ID).ok_or(InvalidTemplate::NoUserId)?;
        let (before, ids, after) = match (before.split_once(DEVICE_ID), after.split_once(DEVICE_ID))
        {
            (None, None) => (before, Ids::User, after),
            (None, Some((separator, after))) => {
                (before, Ids::UserThenDevice { separator: separator.into() }, after)
            }
            (Some((before, separator)), _) => {
                (before, Ids::DeviceThenUser { separator: separator.into() }, after)
            }
        };
        match &ids {
            Ids::UserThenDevice { separator } | Ids::DeviceThenUser { separator }
                if separator.is_empty() =>
            {
                Err(InvalidTemplate::NoSeparator)
            }
            _ => Ok(Self { before: before.into(), ids, after: after.into() }),
        }
    }
}

/// Each `{` must begin a placeholder that exists, each of them once.
fn check_placeholders(text: &str) -> Result<(), InvalidTemplate> {
    for placeholder in text.split('{').skip(1) {
        match placeholder.split_once('}').ok_or(InvalidTemplate::UnclosedPlaceholder)? {
            ("user_id" | "device_id", _) => {}
            (unknown, _) => return Err(InvalidTemplate::UnknownPlaceholder(unknown.into())),
        }
    }
    let is_repeated = |placeholder| text.matches(placeholder).count() > 1;
    if is_repeated(USER_ID) || is_repeated(DEVICE_ID) {
        return Err(InvalidTemplate::Repeated);
    }
    Ok(())
}

impl fmt::Display for IdentityTemplate {
    /// Writes the template's text, as [`FromStr`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, ids, after } = self;
        match ids {
            Ids::User => write!(f, "{before}{USER_ID}{after}"),
            Ids::UserThenDevice { separator } => {
                write!(f, "{before}{USER_ID}{separator}{DEVICE_ID}{after}")
            }
            Ids::DeviceThenUser { separator } => {
                write!(f, "{before}{DEVICE_ID}{separator}{USER_ID}{after}")
            }
        }
    }
}

impl TryFrom<String> for IdentityTemplate {
    type Error = InvalidTemplate;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IdentityTemplate> for String {
    fn from(template: IdentityTemplate) -> Self {
        template.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spell(template: &str) -> String {
        let (user, device) = (UserId::new("alice").unwrap(), DeviceId::new("phone").unwrap());
        template.parse::<IdentityTemplate>().unwrap().identity_of(&user, &device).unwrap()
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(spell("{user_id}/{device_id}"), "alice/phone");
        assert_eq!(spell("{user_id}"), "alice");
        assert_eq!(spell("urn:{device_id}:é}{user_id}!"), "urn:phone:é}alice!");
        assert_eq!("{user_id}/{device_id}".parse(), Ok(IdentityTemplate::default()));
    }

    #[test]
    fn ids_are_not_templates() {
        let user = UserId::new("{device_id}").unwrap();
        let device = DeviceId::new("phone").unwrap();
        let identity = IdentityTemplate::default().identity_of(&user, &device);
        assert_eq!(identity.unwrap(), "{device_id}/phone");
    }

    fn is_ambiguous(template: &str, user: &str, device: &str) -> bool {
        let (user, device) = (UserId::new(user).unwrap(), DeviceId::new(device).unwrap());
        template.parse::<IdentityTemplate>().unwrap().identity_of(&user, &device).is_err()
    }

    #[test]
    fn an_identity_of_two_devices_is_refused() {
        let default = "{user_id}/{device_id}";
        for (template, user, device) in [
            (default, "alice/x", "phone"),
            (default, "alice", "x/phone"),
            (default, "alice/", "phone"),
            (default, "alice", "/phone"),
            ("{device_id}@{user_id}", "a@b", "phone"),
            ("urn:{user_id}::{device_id}!", "alice:", "phone"),
            ("urn:{user_id}::{device_id}!", "alice", ":phone"),
            ("{user_id}aba{device_id}", "xab", "y"),
            ("{user_id}é{device_id}", "é", "éé"),
        ] {
            assert!(is_ambiguous(template, user, device), "{template} {user} {device}");
        }
    }

    #[test]
    fn an_identity_of_one_device_is_accepted_whatever_its_ids_hold() {
        let default = "{user_id}/{device_id}";
        let (longest, longer) = ("x".repeat(255), format!("{}/", "x".repeat(254)));
        for (template, user, device) in [
            // The other half would be empty, or too long.
            (default, "/alice", "phone"),
            (default, "alice", "phone/"),
            (default, &*longer, &*longest),
            ("{user_id}::{device_id}", "a:b", "c:d"),
            ("{user_id}\n{device_id}", "a/b", "c/d"),
            ("{user_id}", "a/b", "c/d"),
        ] {
            assert!(!is_ambiguous(template, user, device), "{template} {user} {device}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let error = |text: &str| text.parse::<IdentityTemplate>().unwrap_err();
        assert_eq!(error("{user}"), InvalidTemplate::UnknownPlaceholder("user".into()));
        assert_eq!(
            error("{user}").to_string(),
            "unknown placeholder {user}; there are {user_id} and {device_id}"
        );
        assert_eq!(error("{user_id}{device_id"), InvalidTemplate::UnclosedPlaceholder);
        assert_eq!(error("{device_id}"), InvalidTemplate::NoUserId);
        assert_eq!(error(""), InvalidTemplate::NoUserId);
        assert_eq!(error("{user_id}{device_id}"), InvalidTemplate::NoSeparator);
        assert_eq!(error("x{device_id}{user_id}y"), InvalidTemplate::NoSeparator);
        assert_eq!(error("{user_id}/{device_id}/{user_id}"), InvalidTemplate::Repeated);
    }

    #[test]
    fn configuration_holds_it_as_text() {
        let text = r#""{user_id}#{device_id}""#;
        let template: IdentityTemplate = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&template).unwrap(), text);
        assert!(serde_json::from_str::<IdentityTemplate>(r#""{device_id}""#).is_err());
    }
}
