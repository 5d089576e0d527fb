//! What happened in a run: every call, every fault, every incident, and what the database has in the end.

mod books;
mod fault;
mod file;
mod ids;
mod incident;
mod log;
mod record;
mod time;

pub(crate) use books::{Books, Entry, Known, Pool};
pub(crate) use fault::{Fault, Kind};
pub(crate) use file::{read, write};
pub(crate) use ids::{Device, Package, Reservation, User};
pub(crate) use incident::Incident;
pub(crate) use log::{Caller, Log};
pub(crate) use record::{
    Action, Answer, Call, Handed, Hold, Outcome, Record, Reserve, Target, Upload, Uploaded,
};
pub(crate) use time::Micros;

/// What happened in a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History {
    /// The calls, in no order.
    pub(crate) records: Vec<Record>,
    /// The faults.
    pub(crate) faults: Vec<Fault>,
    /// What else went wrong with the service.
    pub(crate) incidents: Vec<Incident>,
    /// What the database has in the end.
    pub(crate) books: Books,
}
