//! Makes the reserves of one reservation take turns: those that are repeated while the first still runs find what it
//! has reserved, and don't reserve once more.

use crate::types::ReservationId;
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// The reservations that a reserve is under way for.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<HashSet<ReservationId>>,
    ended: Notify,
}

/// The turn of one reserve; ends when dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    reservation: ReservationId,
}

impl Turns {
    /// Waits until no other reserve is under way for the reservation.
    pub(super) async fn take(&self, reservation: &ReservationId) -> Turn<'_> {
        loop {
            let ended = self.ended.notified();
            if self.taken().insert(reservation.clone()) {
                return Turn { turns: self, reservation: reservation.clone() };
            }
            ended.await;
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<ReservationId>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.taken().remove(&self.reservation);
        self.turns.ended.notify_waiters();
    }
}
