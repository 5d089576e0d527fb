//! How a credential's identity spells a user and a device.

use crate::types::{DeviceId, UserId};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How the identity of a basic credential (RFC 9420, section 5.3) spells user and device.
///
/// `{user_id}` and `{device_id}` stand for the ids, all else for itself. The default is
/// `{user_id}/{device_id}`. Between the two belongs a separator that no user id contains: with
/// users `a` and `a/b`, the default spells device `b/c` of one like device `c` of the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    UserId,
    DeviceId,
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
}

impl IdentityTemplate {
    /// The identity that a credential of this device of this user must have.
    #[must_use]
    pub fn identity_of(&self, user: &UserId, device: &DeviceId) -> Vec<u8> {
        let spell = |part: &Part| match part {
            Part::Literal(text) => text.as_bytes().to_vec(),
            Part::UserId => user.as_str().as_bytes().to_vec(),
            Part::DeviceId => device.as_str().as_bytes().to_vec(),
        };
        self.0.iter().flat_map(spell).collect()
    }
}

impl Default for IdentityTemplate {
    fn default() -> Self {
        Self(vec![Part::UserId, Part::Literal("/".into()), Part::DeviceId])
    }
}

impl FromStr for IdentityTemplate {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, tail) = Part::first_of(rest)?;
            parts.push(part);
            rest = tail;
        }
        if !parts.contains(&Part::UserId) {
            return Err(InvalidTemplate::NoUserId);
        }
        Ok(Self(parts))
    }
}

impl Part {
    /// Splits a text that is not empty into its first part and the rest.
    fn first_of(text: &str) -> Result<(Self, &str), InvalidTemplate> {
        let Some(placeholder) = text.strip_prefix('{') else {
            let (literal, tail) = text.split_at(text.find('{').unwrap_or(text.len()));
            return Ok((Self::Literal(literal.into()), tail));
        };
        match placeholder.split_once('}').ok_or(InvalidTemplate::UnclosedPlaceholder)? {
            ("user_id", tail) => Ok((Self::UserId, tail)),
            ("device_id", tail) => Ok((Self::DeviceId, tail)),
            (unknown, _) => Err(InvalidTemplate::UnknownPlaceholder(unknown.into())),
        }
    }
}

impl fmt::Display for IdentityTemplate {
    /// Writes the template's text, as [`FromStr`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(text),
            Part::UserId => f.write_str("{user_id}"),
            Part::DeviceId => f.write_str("{device_id}"),
        })
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
        let identity = template.parse::<IdentityTemplate>().unwrap().identity_of(&user, &device);
        String::from_utf8(identity).unwrap()
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
        assert_eq!(identity, b"{device_id}/phone");
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
    }

    #[test]
    fn configuration_holds_it_as_text() {
        let text = r#""{user_id}#{device_id}""#;
        let template: IdentityTemplate = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&template).unwrap(), text);
        assert!(serde_json::from_str::<IdentityTemplate>(r#""{device_id}""#).is_err());
    }
}
