//! When a call can have had its effect.
//!
//! The SDK tries a call again when it hears nothing. What an earlier try has asked for may still be done after the call has
//! returned: by a replica that was frozen, or a database that was. It may not be done later than the fault that kept it. Of a
//! client that makes no retries, an answered call has had one try; but where a replica loses its connection to the database, it
//! runs its statements again, too.

use crate::history::{Fault, Micros, Record};
use std::time::Duration;

/// How long after a fault is healed its effects last: connections are made again, queues are emptied.
const AFTERMATH: Duration = Duration::from_secs(3);

/// A call that took so long may have had several tries even without a fault. The shortest try takes longer.
const SLOW: Duration = Duration::from_millis(350);

/// The faults of a history, to be asked about.
#[derive(Debug)]
pub(super) struct Calm {
    faults: Vec<Fault>,
}

impl Calm {
    pub(super) fn of(faults: &[Fault]) -> Self {
        let mut faults = faults.to_vec();
        faults.sort_by_key(|fault| fault.from);
        Self { faults }
    }

    /// Whether the call had one try, which was over when it returned.
    pub(super) fn is_calm(&self, record: &Record) -> bool {
        let mut faults = self.during(record.invoked, record.replied);
        if record.one_try && !record.outcome.is_unknown() {
            return !faults.any(|fault| fault.kind.leaves_statements());
        }
        record.replied.since(record.invoked) < SLOW
            && faults.all(|fault| fault.kind.leaves_calls_alone())
    }

    /// The moment from which on no try of the call can have an effect any more.
    pub(super) fn settled(&self, record: &Record) -> Micros {
        if self.is_calm(record) {
            return record.replied;
        }
        let ends = self.during(record.invoked, record.replied);
        let ends = ends.filter(|fault| !fault.kind.leaves_calls_alone()).map(|fault| fault.to);
        ends.fold(record.replied, Ord::max).after(AFTERMATH)
    }

    /// The same in another database than the call was made in: there nothing is done that was answered at once.
    pub(super) fn settled_elsewhere(&self, record: &Record) -> Micros {
        let is_quick = record.replied.since(record.invoked) < SLOW;
        match !record.outcome.is_unknown() && (is_quick || record.one_try) {
            true => record.replied,
            false => self.settled(record),
        }
    }

    /// The moment from which on the service can know that the call was given up, or answered.
    pub(super) fn given_up(&self, record: &Record) -> Micros {
        let mut faults = self.during(record.invoked, record.replied);
        match faults.any(|fault| fault.kind.holds_requests_back()) {
            true => self.settled(record),
            false => record.replied,
        }
    }

    /// Whether the answer may have been under way for long.
    pub(super) fn may_come_late(&self, record: &Record) -> bool {
        let mut faults = self.during(record.invoked, record.replied);
        faults.any(|fault| fault.kind.holds_answers_back())
    }

    /// The faults whose effects some moment of this time may have seen.
    fn during(&self, from: Micros, to: Micros) -> impl Iterator<Item = &Fault> {
        let begun = self.faults.partition_point(|fault| fault.from <= to);
        self.faults[..begun].iter().filter(move |fault| fault.to.after(AFTERMATH) >= from)
    }
}
