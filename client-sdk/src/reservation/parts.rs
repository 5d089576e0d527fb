//! Reservations that are let go of without being released.

use super::Reservation;
use crate::{Missing, ReservedPackage};

impl Reservation {
    /// Lets go of the reservation without releasing it, and returns its id. It can be taken up again
    /// with [`ReserveBuilder::reservation_id`](crate::ReserveBuilder::reservation_id).
    pub fn keep(mut self) -> String {
        self.release_on_drop = false;
        std::mem::take(&mut self.request.reservation_id)
    }

    /// Like [`keep`](Self::keep), but returns the packages and what is missing, too.
    pub fn into_parts(mut self) -> ReservationParts {
        self.release_on_drop = false;
        ReservationParts {
            id: std::mem::take(&mut self.request.reservation_id),
            group_id: std::mem::take(&mut self.request.group_id),
            packages: std::mem::take(&mut self.packages),
            missing: std::mem::take(&mut self.missing),
        }
    }
}

/// The parts of a [`Reservation`]. See [`Reservation::into_parts`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReservationParts {
    /// The reservation's id.
    pub id: String,
    /// The group that it was made for.
    pub group_id: Vec<u8>,
    /// The packages.
    pub packages: Vec<ReservedPackage>,
    /// The users and devices for which there was none, and why.
    pub missing: Vec<Missing>,
}
