//! What is wanted, and how statements take it: a column for each part of a want.

use crate::{
    store::DeviceKey,
    types::{CipherSuite, GroupId, Holder, ReservationId, ReturnedTo},
};
use jiff::Timestamp;

/// Which packages may be handed out.
#[derive(Debug, Clone)]
pub struct ReserveFilter {
    /// The time of the call.
    pub now: Timestamp,
    /// Packages must be valid for longer than until here.
    pub min_not_after: Timestamp,
    /// Acceptable cipher suites; none means any.
    pub cipher_suites: Vec<CipherSuite>,
}

impl ReserveFilter {
    /// The cipher suites as the statements take them.
    pub(super) fn suites(&self) -> Option<Vec<i32>> {
        let suites: Vec<i32> = self.cipher_suites.iter().map(|suite| i32::from(suite.0)).collect();
        (!suites.is_empty()).then_some(suites)
    }
}

/// One package of one device, wanted by a reservation.
#[derive(Debug, Clone)]
pub struct Want {
    /// Whose package.
    pub device: DeviceKey,
    /// The reservation.
    pub reservation: ReservationId,
    /// The group it is for.
    pub group: GroupId,
    /// Who holds it.
    pub holder: Holder,
    /// Who calls.
    pub principal: Holder,
    /// When a new hold ends.
    pub held_until: Timestamp,
    /// Who may be handed the package once the hold has ended without a spend.
    pub returned_to: ReturnedTo,
}

/// What becomes of devices of which one of the reservations has, or had, something already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownDevices {
    /// They are left alone: what the reservation has must be looked up first.
    LeaveAlone,
    /// They are taken from like others.
    Take,
}

pub(super) fn text<'a>(wants: &'a [&Want], of: fn(&'a Want) -> &'a str) -> Vec<&'a str> {
    wants.iter().map(|want| of(want)).collect()
}

pub(super) fn buckets(wants: &[&Want]) -> Vec<i16> {
    wants.iter().map(|want| want.device.bucket.number()).collect()
}

pub(super) fn groups<'a>(wants: &'a [&Want]) -> Vec<&'a [u8]> {
    wants.iter().map(|want| want.group.as_bytes()).collect()
}

pub(super) fn ends(wants: &[&Want]) -> Vec<Timestamp> {
    wants.iter().map(|want| want.held_until).collect()
}

/// As the tables have it: 0 anybody, 1 the same holder, 2 nobody.
pub(super) fn returns(wants: &[&Want]) -> Vec<i16> {
    wants.iter().map(|want| want.returned_to as i16).collect()
}
