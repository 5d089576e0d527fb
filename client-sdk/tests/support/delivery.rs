//! A delivery service: it takes one commit for each epoch of a group.

use std::collections::HashMap;
use std::sync::Mutex;

use keypool_client::mls::{Invite, PublishError};
use openmls::prelude::MlsGroup;

use super::device::Device;

/// An epoch of a group.
type Epoch = (Vec<u8>, u64);

#[derive(Default)]
pub(crate) struct Delivery {
    accepted: Mutex<HashMap<Epoch, Vec<u8>>>,
    invites: Mutex<Vec<(Vec<u8>, Invite)>>,
}

impl Delivery {
    /// Takes an invite for this epoch of the group. The same commit again is as good.
    pub(crate) fn publish(
        &self,
        group_id: &[u8],
        epoch: u64,
        invite: Invite,
    ) -> Result<(), PublishError> {
        self.take(group_id, epoch, &invite.commit)?;
        let mut invites = self.invites.lock().unwrap();
        if !invites.iter().any(|(_, known)| *known == invite) {
            invites.push((group_id.to_vec(), invite));
        }
        Ok(())
    }

    pub(crate) fn take(
        &self,
        group_id: &[u8],
        epoch: u64,
        commit: &[u8],
    ) -> Result<(), PublishError> {
        let mut accepted = self.accepted.lock().unwrap();
        let first = accepted.entry((group_id.to_vec(), epoch)).or_insert_with(|| commit.to_vec());
        match first == commit {
            true => Ok(()),
            false => Err(PublishError::Refused("another commit won the epoch".into())),
        }
    }

    /// All that was accepted, of all groups.
    pub(crate) fn invites(&self) -> Vec<Invite> {
        self.invites.lock().unwrap().iter().map(|(_, invite)| invite.clone()).collect()
    }

    /// Sees that each of the devices was invited to the group just once, and can join it.
    pub(crate) fn check(&self, group: &MlsGroup, devices: &[&Device]) {
        let invites = self.invites.lock().unwrap();
        let of_group =
            invites.iter().filter(|(group_id, _)| group_id == group.group_id().as_slice());
        let of_group: Vec<_> = of_group.map(|(_, invite)| invite).collect();
        assert_eq!(group.members().count(), devices.len() + 1);
        for device in devices {
            let is_for = |invite: &&&Invite| {
                invite.added.iter().any(|name| {
                    name.user_id == device.user_id && name.device_id == device.device_id
                })
            };
            let its: Vec<_> = of_group.iter().filter(is_for).collect();
            assert_eq!(its.len(), 1, "invites of {}/{}", device.user_id, device.device_id);
            let joined = device.join(&its[0].welcome);
            assert!(
                joined.epoch_authenticator().as_slice() == group.epoch_authenticator().as_slice()
            );
        }
    }
}
