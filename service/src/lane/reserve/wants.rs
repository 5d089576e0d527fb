//! From the targets of calls to the packages that are wanted, one of each device.

use super::{DeviceOutcome, Outcome, ReserveCall, ReservePart};
use crate::{
    store::{DeviceKey, Missing, Session, StoreError, Want},
    types::{DeviceId, Target, UserId},
};
use jiff::Timestamp;

/// How many devices of a user one target stands for. A part is weighed before it is known how many there are: what is more has to
/// be asked for by itself.
const DEVICES_AT_ONCE: usize = 8;

/// A want, and the number of the part that it belongs to.
pub(super) struct PartWant {
    pub(super) want: Want,
    pub(super) part: usize,
    pub(super) max_holds: Option<u32>,
}

/// What some parts want.
pub(super) struct Wants {
    /// Ordered by device.
    pub(super) wants: Vec<PartWant>,
    /// Users who have no device to want a package of, and devices that are asked for later, with the numbers of the parts.
    pub(super) settled: Vec<(usize, DeviceOutcome)>,
}

impl Wants {
    /// What the parts of these numbers want at this time.
    pub(super) async fn of(
        session: &mut Session,
        parts: &[&ReservePart],
        numbers: &[usize],
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut this = Self { wants: Vec::with_capacity(numbers.len()), settled: Vec::new() };
        let mut users: Vec<(usize, &Target)> = Vec::new();
        for &number in numbers {
            for target in &parts[number].targets {
                match &target.device {
                    Some(device) => {
                        this.add(&parts[number].call, number, &target.user, device, now);
                    }
                    None => users.push((number, target)),
                }
            }
        }
        if !users.is_empty() {
            let ids: Vec<&UserId> = users.iter().map(|(_, target)| &target.user).collect();
            for ((number, target), devices) in users.iter().zip(session.devices_of(&ids).await?) {
                if devices.is_empty() {
                    this.settle(*number, target, None, Outcome::Missing(Missing::default()));
                }
                let wanted = devices.into_iter().filter(|device| !target.excluded.contains(device));
                for (nth, device) in wanted.enumerate() {
                    if nth < DEVICES_AT_ONCE {
                        this.add(&parts[*number].call, *number, &target.user, &device, now);
                    } else {
                        this.settle(*number, target, Some(device), Outcome::Deferred);
                    }
                }
            }
        }
        this.wants.sort_by(|a, b| (&a.want.device, a.part).cmp(&(&b.want.device, b.part)));
        // A user and one of its devices may both be targets of a call.
        this.wants.dedup_by(|a, b| a.part == b.part && a.want.device == b.want.device);
        Ok(this)
    }

    fn settle(&mut self, part: usize, target: &Target, device: Option<DeviceId>, outcome: Outcome) {
        let user = target.user.clone();
        self.settled.push((part, DeviceOutcome { user, device, outcome, charge: None }));
    }

    fn add(
        &mut self,
        call: &ReserveCall,
        part: usize,
        user: &UserId,
        device: &DeviceId,
        now: Timestamp,
    ) {
        let want = Want {
            device: DeviceKey::new(user.clone(), device.clone()),
            reservation: call.reservation.clone(),
            group: call.group.clone(),
            holder: call.holder.clone(),
            principal: call.principal.clone(),
            held_until: now + call.ttl,
            returned_to: call.returned_to,
        };
        let max_holds = call.max_holds.map(|most| most.of(&call.holder, user));
        self.wants.push(PartWant { want, part, max_holds });
    }
}
