//! What a reserve asks for.

use crate::{
    limits::MaxHolds,
    types::{CipherSuite, GroupId, Holder, ReservationId, ReturnedTo},
};
use jiff::SignedDuration;

/// What all the targets of a reserve share.
#[derive(Debug, Clone)]
pub struct ReserveCall {
    /// The reservation.
    pub reservation: ReservationId,
    /// The group it is for.
    pub group: GroupId,
    /// Who holds it.
    pub holder: Holder,
    /// Who calls.
    pub principal: Holder,
    /// How long a new hold lasts.
    pub ttl: SignedDuration,
    /// Acceptable cipher suites; none means any.
    pub cipher_suites: Vec<CipherSuite>,
    /// How long each package must stay valid.
    pub min_remaining: SignedDuration,
    /// Who may be handed a package once it was given back.
    pub returned_to: ReturnedTo,
    /// How many live holds the holder may have on one device; none means any number.
    pub max_holds: Option<MaxHolds>,
}

impl ReserveCall {
    pub(super) fn has_filter_of(&self, other: &Self) -> bool {
        self.cipher_suites == other.cipher_suites && self.min_remaining == other.min_remaining
    }
}
