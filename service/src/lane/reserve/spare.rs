//! Packages that devices can spare.

use crate::{store::DeviceKey, types::CipherSuite};
use std::collections::{BTreeMap, HashMap};

/// How many packages of each device and cipher suite may go to holders that had their fair share lately. The last ones of a suite are
/// for other holders, however many the device has of other suites.
#[derive(Default)]
pub(super) struct Spare(HashMap<DeviceKey, BTreeMap<CipherSuite, u32>>);

impl Spare {
    /// Notes how many packages of each suite anybody may be handed, of which so many are not spare.
    pub(super) fn count(
        &mut self,
        device: &DeviceKey,
        for_anyone: &BTreeMap<CipherSuite, u32>,
        reserved: u32,
    ) {
        if !self.0.contains_key(device) {
            let spare =
                for_anyone.iter().map(|(suite, count)| (*suite, count.saturating_sub(reserved)));
            self.0.insert(device.clone(), spare.collect());
        }
    }

    /// Notes that another holder was handed one.
    pub(super) fn handed_out(&mut self, device: &DeviceKey, suite: CipherSuite) {
        if let Some(left) = self.0.get_mut(device).and_then(|suites| suites.get_mut(&suite)) {
            *left = left.saturating_sub(1);
        }
    }

    /// The suite of which the device can spare most, from now on one less. None if it can't spare any.
    pub(super) fn take(&mut self, device: &DeviceKey) -> Option<CipherSuite> {
        let suites = self.0.get_mut(device)?;
        let (suite, left) = suites.iter_mut().max_by_key(|(_, left)| **left)?;
        *left = left.checked_sub(1)?;
        Some(*suite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DeviceId, UserId};

    #[test]
    fn each_suite_keeps_its_last_packages() {
        let device = DeviceKey::new(UserId::new("bob").unwrap(), DeviceId::new("phone").unwrap());
        let [few, many] = [CipherSuite(1), CipherSuite(2)];
        let mut spare = Spare::default();
        assert_eq!(spare.take(&device), None);
        spare.count(&device, &BTreeMap::from([(few, 4), (many, 7)]), 4);
        spare.handed_out(&device, few);
        spare.handed_out(&device, many);
        assert_eq!([(); 3].map(|()| spare.take(&device)), [Some(many), Some(many), None]);
    }
}
