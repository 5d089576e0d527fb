//! Comparing what is listed with what is remembered.

use std::collections::BTreeMap;

use super::change::DeviceChange;
use super::store::{PinnedIdentity, PinnedUser};
use crate::mls::CredentialVerifier;
use crate::mls::identity::{Asked, ListedDevices};

/// The devices of a user, as an answer lists them.
pub(super) struct Seen<'a> {
    user_id: &'a str,
    asked: &'a Asked,
    /// With the identities that the verifier approves. What it does not approve is added to no group.
    devices: BTreeMap<&'a str, Option<PinnedIdentity>>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(listed: &'a ListedDevices<'_>, verifier: &impl CredentialVerifier) -> Self {
        let user_id = listed.user_id;
        let devices = listed.devices.iter().map(|device| {
            let approved = device.identity.filter(|(credential, signature_key)| {
                verifier.verify(user_id, device.device_id, credential, signature_key).is_ok()
            });
            let identity = approved.and_then(|(credential, signature_key)| {
                PinnedIdentity::of(credential, signature_key).ok()
            });
            (device.device_id, identity)
        });
        Self { user_id, asked: &listed.asked, devices: devices.collect() }
    }

    /// How they differ from what is remembered, ordered by device.
    pub(super) fn compare(&self, user: &PinnedUser) -> Vec<DeviceChange> {
        let ids = |device_id: &str| (self.user_id.to_owned(), device_id.to_owned());
        let mut changes = Vec::new();
        for (&device_id, identity) in &self.devices {
            let (user_id, device_id) = ids(device_id);
            match (user.devices.get(&device_id), identity) {
                (None, _) if user.is_listed => {
                    let identity = identity.clone();
                    changes.push(DeviceChange::Added { user_id, device_id, identity });
                }
                (Some(Some(before)), Some(now)) if before != now => {
                    let (before, now) = (before.clone(), now.clone());
                    changes.push(DeviceChange::Identity { user_id, device_id, before, now });
                }
                _ => {}
            }
        }
        if let Asked::AllBut(excluded) = self.asked {
            let gone = user.devices.keys().filter(|device_id| {
                !self.devices.contains_key(device_id.as_str()) && !excluded.contains(*device_id)
            });
            changes.extend(gone.map(|device_id| {
                let (user_id, device_id) = ids(device_id);
                DeviceChange::Gone { user_id, device_id }
            }));
        }
        changes.sort_by(|a, b| a.device_id().cmp(b.device_id()));
        changes
    }

    /// Remembers what is seen first.
    pub(super) fn remember(&self, user: &mut PinnedUser) {
        for (&device_id, identity) in &self.devices {
            let pinned = user.devices.entry(device_id.to_owned()).or_default();
            if pinned.is_none() {
                pinned.clone_from(identity);
            }
        }
        // A user who is unknown to the service may come later.
        user.is_listed |= match self.asked {
            Asked::AllBut(excluded) => !self.devices.is_empty() || !excluded.is_empty(),
            Asked::Some => false,
        };
    }
}
