//! Holds that no caller knows of yet.

use crate::{
    lane::{
        Family, LaneError, answer,
        hold::{Hold, HoldCall, HoldReply},
        queue::Reply,
    },
    store::{DeviceKey, HeldItem, ReleaseItem, ReservedRow},
    types::{Holder, ReservationId},
};
use std::{collections::HashSet, mem, sync::Arc, time::Duration};
use tokio::{runtime::Handle, time::sleep};

/// How long to wait before the release of a hold is tried again that could not be given back: another transaction had its
/// row locked, or the database failed. After that the hold ends with its time.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(200), Duration::from_secs(2)];

/// Holds that are given back when this is dropped, but for those that were asked for again since.
pub(super) struct NewHolds {
    items: Vec<ReleaseItem>,
    hold: Arc<Family<Hold>>,
}

/// The parts of a release that wait in their lanes, with the places of their items.
type Releases = Vec<(Vec<usize>, Reply<Hold>)>;

impl NewHolds {
    pub(super) fn none(hold: Arc<Family<Hold>>) -> Self {
        Self { items: Vec::new(), hold }
    }

    pub(super) fn push(
        &mut self,
        device: &DeviceKey,
        reservation: &ReservationId,
        holder: &Holder,
        principal: &Holder,
        row: &ReservedRow,
    ) {
        self.items.push(ReleaseItem {
            held: HeldItem {
                device: device.clone(),
                reference: row.reference.clone(),
                reservation: reservation.clone(),
                holder: Some(holder.clone()),
            },
            // What an earlier call was answered with was seen.
            principal: row.found.then(|| principal.clone()),
            report: None,
            asked_at: row.asked_at,
        });
    }

    pub(super) fn items(&self) -> &[ReleaseItem] {
        &self.items
    }

    /// Forgets the items of these places: they were given back.
    pub(super) fn forget(&mut self, released: &HashSet<usize>) {
        forget(&mut self.items, released);
    }

    /// Gives the holds back, as far as that can be done at once; the others are given back later.
    ///
    /// # Errors
    /// If the lanes are full or closed, or the database fails.
    pub(super) async fn give_back(mut self) -> Result<(), LaneError> {
        let mut result = Ok(());
        let mut released = HashSet::new();
        for (places, reply) in begin(&self.items, &self.hold) {
            match answer(reply).await {
                Ok(reply) => released.extend(done(&places, &reply)),
                Err(error) => result = Err(error),
            }
        }
        self.forget(&released);
        result
    }
}

impl Drop for NewHolds {
    fn drop(&mut self) {
        if self.items.is_empty() {
            return;
        }
        // Without a runtime there are no lanes either: then the holds end with their time.
        let Ok(runtime) = Handle::try_current() else { return };
        let (mut items, hold) = (mem::take(&mut self.items), self.hold.clone());
        let mut releases = begin(&items, &hold);
        runtime.spawn(async move {
            for pause in PAUSES.map(Some).into_iter().chain([None]) {
                let mut released = HashSet::new();
                for (places, reply) in releases {
                    if let Ok(reply) = answer(reply).await {
                        released.extend(done(&places, &reply));
                    }
                }
                forget(&mut items, &released);
                let Some(pause) = pause.filter(|_| !items.is_empty()) else { return };
                sleep(pause).await;
                releases = begin(&items, &hold);
            }
        });
    }
}

/// Puts releases into the lanes that have room for them.
fn begin(items: &[ReleaseItem], hold: &Family<Hold>) -> Releases {
    let parts = HoldCall::Release(items.to_vec()).split(hold);
    let begin = |(lane, places, call)| Some((places, hold.lane(lane).push_patiently(call).ok()?));
    parts.into_iter().filter_map(begin).collect()
}

fn forget(items: &mut Vec<ReleaseItem>, released: &HashSet<usize>) {
    let mut place = 0..;
    items.retain(|_| place.next().is_none_or(|place| !released.contains(&place)));
}

/// The places of the items that were released.
fn done<'a>(places: &'a [usize], reply: &'a HoldReply) -> impl Iterator<Item = usize> + 'a {
    places.iter().zip(reply).filter(|(_, done)| done.is_some()).map(|(&place, _)| place)
}
