//! Who certainly holds what.

use super::index::{Held, Index, Story};
use crate::history::{Micros, Record, Reservation};
use std::time::Duration;

/// How far a call must be from the end of a hold, or of a lifetime, for that to last while the call is made.
pub(super) const MARGIN: Duration = Duration::from_millis(50);

/// The acknowledged hold of a reservation on a package that certainly lasts while a call is made: whatever is asked of any
/// replica meanwhile, it is there. A revocation does not end it.
pub(super) fn hold<'a>(
    index: &Index<'_>,
    story: &'a Story,
    reservation: Reservation,
    record: &Record,
) -> Option<&'a Held> {
    let known = |hold: &&Held| hold.reservation == reservation && hold.replied < record.invoked;
    let last = story.holds.iter().filter(known).max_by_key(|hold| hold.end)?;
    let (_, uploaded) = story.uploaded?;
    let certain = record.replied.after(MARGIN);
    let lasts = last.end > certain
        && uploaded.not_after > certain
        && story.ended_by(reservation) > record.replied
        && !may_have_given_back(index, reservation, record.replied)
        && !index.restores.is_between(last.invoked, record.replied);
    lasts.then_some(last)
}

/// Whether a reservation was surely told, before a call, that it has spent a package: that is for good.
pub(super) fn is_spent(
    index: &Index<'_>,
    story: &Story,
    reservation: Reservation,
    record: &Record,
) -> bool {
    story.spendings.iter().any(|spending| {
        spending.reservation == reservation
            && spending.done == Some(true)
            && spending.replied < record.invoked
            && !index.restores.may_forget(spending.replied, record.replied)
    })
}

/// Whether a reserve of all or nothing may have found something missing by then: it gives back what its reservation had, too,
/// even if that was acknowledged to another try of it.
fn may_have_given_back(index: &Index<'_>, reservation: Reservation, moment: Micros) -> bool {
    index.asked.get(&reservation).into_iter().flatten().any(|asked| {
        asked.reserve.require_all
            && asked.record.invoked <= moment
            && !(asked.record.outcome.is_ok() && asked.calm)
    })
}
