//! What an answer says about the devices of each user.

use std::collections::{BTreeMap, BTreeSet};

use openmls::prelude::KeyPackage;

use crate::mls::{Asked, ListedDevice, ListedDevices};
use crate::{ErrorReason, Missing, Reservation, ReservedPackage, Target};

/// The devices of each user among the targets: those with a package, of which the sound ones are given,
/// and those with a reason why there is none.
pub(super) fn listed<'a, E>(
    targets: &'a [Target],
    reservation: &'a Reservation,
    packages: &'a [(&'a ReservedPackage, Result<KeyPackage, E>)],
) -> Vec<ListedDevices<'a>> {
    let mut users: BTreeMap<&str, ListedDevices<'_>> = BTreeMap::new();
    for target in targets {
        let user_id = target.user_id();
        let listed = users.entry(user_id).or_insert_with(|| ListedDevices {
            user_id,
            asked: Asked::Some,
            devices: Vec::new(),
        });
        if target.device_id().is_none() {
            let excluded: BTreeSet<_> = target.excluded().map(str::to_owned).collect();
            listed.asked = match &listed.asked {
                Asked::AllBut(others) => Asked::AllBut(others & &excluded),
                Asked::Some => Asked::AllBut(excluded),
            };
        }
    }
    for (package, checked) in packages {
        let Some(listed) = users.get_mut(package.name.user_id.as_str()) else { continue };
        let leaf = checked.as_ref().ok().map(KeyPackage::leaf_node);
        let identity = leaf.map(|leaf| (leaf.credential(), leaf.signature_key()));
        listed.devices.push(ListedDevice { device_id: &package.name.device_id, identity });
    }
    for Missing { user_id, device_id, reason, .. } in reservation.missing() {
        let Some(listed) = users.get_mut(user_id.as_str()) else { continue };
        match device_id {
            Some(device_id) if *reason != ErrorReason::UnknownDevice => {
                listed.devices.push(ListedDevice { device_id, identity: None });
            }
            // Why the list is missing is for the caller to judge.
            None if *reason != ErrorReason::UnknownUser && listed.devices.is_empty() => {
                listed.asked = Asked::Some;
            }
            Some(_) | None => {}
        }
    }
    users.into_values().collect()
}
