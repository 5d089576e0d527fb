use crate::types::{DeviceId, InvalidId, Target, UserId};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;

/// The most users, devices and prefixes of one grant together: each token that is remembered keeps its own.
const MAX_ENTRIES: usize = 128;

/// Why a claim is no grant. The texts may be shown to the caller; none of them holds any part of the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrant {
    /// Not an object of the lists `users`, `devices` and `prefixes`, or with another member.
    #[error(
        "must be an object with only \"users\" (strings), \"devices\" (objects of \"user\" and \"device\") and \"prefixes\" (strings)"
    )]
    Shape,
    /// More users, devices and prefixes together than a grant may have.
    #[error("must have at most {MAX_ENTRIES} entries, has {0}")]
    TooMany(usize),
    /// A user's or device's id can't be one, or a prefix can't begin one.
    #[error("has an entry in {list:?} that {error}")]
    Entry {
        /// The list.
        list: &'static str,
        /// What is wrong with the entry.
        error: InvalidId,
    },
}

/// Whom an inviter may reserve packages of, besides its own user. Nobody by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InviteGrant {
    users: HashSet<UserId>,
    devices: HashSet<(UserId, DeviceId)>,
    /// Not empty, any of them: an empty prefix would grant everybody.
    prefixes: Vec<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Claim {
    users: Vec<String>,
    devices: Vec<ClaimedDevice>,
    prefixes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimedDevice {
    user: String,
    device: String,
}

impl InviteGrant {
    /// Reads a token's claim.
    ///
    /// # Errors
    /// If the claim is anything else than a grant, even in part.
    pub fn read(claim: &Value) -> Result<Self, InvalidGrant> {
        // An array would be taken for an object whose members come in order.
        let Value::Object(_) = claim else { return Err(InvalidGrant::Shape) };
        let Claim { users, devices, prefixes } =
            Claim::deserialize(claim).map_err(|_| InvalidGrant::Shape)?;
        let entries = users.len() + devices.len() + prefixes.len();
        if entries > MAX_ENTRIES {
            return Err(InvalidGrant::TooMany(entries));
        }
        let in_list = |list| move |error| InvalidGrant::Entry { list, error };
        let users = users.iter().map(|user| UserId::new(user)).collect::<Result<_, _>>();
        let devices = devices
            .iter()
            .map(|one| Ok((UserId::new(&one.user)?, DeviceId::new(&one.device)?)))
            .collect::<Result<_, _>>();
        // What can't be an id itself can't begin one.
        let prefixes = prefixes
            .into_iter()
            .map(|prefix| UserId::new(&prefix).map(|_| prefix.into()))
            .collect::<Result<_, _>>();
        Ok(Self {
            users: users.map_err(in_list("users"))?,
            devices: devices.map_err(in_list("devices"))?,
            prefixes: prefixes.map_err(in_list("prefixes"))?,
        })
    }

    /// Whether it names a target, byte for byte. A grant of single devices does not name their user.
    #[must_use]
    pub fn names(&self, target: &Target) -> bool {
        let Target { user, device, .. } = target;
        self.users.contains(user)
            || self.prefixes.iter().any(|prefix| user.as_str().starts_with(&**prefix))
            || device
                .as_ref()
                .is_some_and(|device| self.devices.contains(&(user.clone(), device.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(user: &str, device: Option<&str>) -> Target {
        Target {
            user: UserId::new(user).unwrap(),
            device: device.map(|device| DeviceId::new(device).unwrap()),
            excluded: Vec::new(),
        }
    }

    #[test]
    fn a_grant_names_users_devices_and_prefixes() {
        let grant = InviteGrant::read(&json!({
            "users": ["bob"],
            "devices": [{ "user": "carol/home", "device": "a/phone" }],
            "prefixes": ["team-a:"],
        }))
        .unwrap();
        for (user, device) in [
            ("bob", None),
            ("bob", Some("phone")),
            ("carol/home", Some("a/phone")),
            ("team-a:", None),
            ("team-a:dave", Some("phone")),
        ] {
            assert!(grant.names(&target(user, device)), "{user} {device:?}");
        }
        for (user, device) in [
            ("Bob", None),
            ("bob ", None),
            ("bobby", None),
            ("\u{ff42}ob", None), // a fullwidth b
            ("carol/home", None),
            ("carol/home", Some("phone")),
            ("carol", Some("home/a/phone")),
            ("carol/home/a", Some("phone")),
            ("dave", Some("a/phone")),
            ("team-a", None),
            ("Team-a:dave", None),
        ] {
            assert!(!grant.names(&target(user, device)), "{user} {device:?}");
        }
        assert!(!InviteGrant::read(&json!({})).unwrap().names(&target("bob", None)));
    }

    #[test]
    fn what_is_no_grant_is_refused() {
        for shape in [
            json!(null),
            json!("bob"),
            json!(["bob"]),
            json!([["bob"], [], []]),
            json!(true),
            json!({ "user": ["bob"] }),
            json!({ "users": "bob" }),
            json!({ "users": [7] }),
            json!({ "users": null }),
            json!({ "users": ["bob"], "everybody": true }),
            json!({ "devices": ["carol/phone"] }),
            json!({ "devices": [{ "user": "carol" }] }),
            json!({ "devices": [{ "user": "carol", "device": "phone", "or": "any" }] }),
            json!({ "prefixes": { "team": "a" } }),
        ] {
            assert_eq!(InviteGrant::read(&shape), Err(InvalidGrant::Shape), "{shape}");
        }
        let long = "x".repeat(256);
        for (list, claim) in [
            ("users", json!({ "users": [""] })),
            ("users", json!({ "users": ["bob", "\n"] })),
            ("devices", json!({ "devices": [{ "user": "carol", "device": "" }] })),
            ("devices", json!({ "devices": [{ "user": "", "device": "phone" }] })),
            ("prefixes", json!({ "prefixes": [""] })),
            ("prefixes", json!({ "prefixes": [long] })),
        ] {
            let refused = InviteGrant::read(&claim).unwrap_err();
            assert!(
                matches!(refused, InvalidGrant::Entry { list: of, .. } if of == list),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_grant_is_bounded() {
        let users = |count: usize| Vec::from_iter((0..count).map(|n| n.to_string()));
        let claim = |count| json!({ "users": users(count - 1), "prefixes": ["team-a:"] });
        assert!(InviteGrant::read(&claim(MAX_ENTRIES)).is_ok());
        let refused = InviteGrant::read(&claim(MAX_ENTRIES + 1));
        assert_eq!(refused, Err(InvalidGrant::TooMany(MAX_ENTRIES + 1)));
    }
}
