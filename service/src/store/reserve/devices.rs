//! The wants of each device, together.

use super::Want;
use crate::store::DeviceKey;

/// What separates ids in one text: no id holds a control character.
const SEPARATOR: &str = "\n";

/// The devices of wants, one element for each; the wants of one device follow each other.
#[derive(Default)]
pub(super) struct Devices<'a> {
    pub(super) bucket: Vec<i16>,
    pub(super) user: Vec<&'a str>,
    pub(super) device: Vec<&'a str>,
    pub(super) wanted: Vec<i32>,
    pub(super) reservations: Vec<String>,
    /// Each reservation with its holder.
    pub(super) holds: Vec<String>,
    /// For each want: its device's number, and its own among the device's, both from 1.
    pub(super) of_want: Vec<(i32, i32)>,
}

impl<'a> Devices<'a> {
    pub(super) fn of(wants: &'a [&Want]) -> Self {
        let mut devices = Self::default();
        for wants in wants.chunk_by(|one, next| one.device == next.device) {
            let DeviceKey { bucket, user, device } = &wants[0].device;
            let mut reservations: Vec<&str> =
                wants.iter().map(|want| want.reservation.as_str()).collect();
            reservations.sort_unstable();
            devices.bucket.push(bucket.number());
            devices.user.push(user.as_str());
            devices.device.push(device.as_str());
            devices.reservations.push(reservations.join(SEPARATOR));
            let hold = |want: &&Want| format!("{}\t{}", want.reservation, want.holder);
            devices.holds.push(wants.iter().map(hold).collect::<Vec<_>>().join(SEPARATOR));
            let number = devices.bucket.len();
            devices.of_want.extend((1..=wants.len()).map(|nth| (count(number), count(nth))));
            devices.wanted.push(count(wants.len()));
        }
        devices
    }
}

/// A number of rows: far below the limit of its type.
fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
