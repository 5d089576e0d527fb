//! An answer is true when it is given: a hold that it brings lasts.

use super::{Broken, Verdict, index::Index};
use crate::history::{Answer, Call, Micros, Outcome, Record};
use std::time::Duration;

/// How late an answer may reach a client that has not much of a processor.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for record in &index.history.records {
        let Some(end) = first_end(record) else { continue };
        if end.after(ON_ITS_WAY) < record.replied && !index.calm.may_come_late(record) {
            let what = format!("held until {}, as was said at {}", end.0, record.replied.0);
            verdict.note(Broken::ToldTooLate, what);
        }
    }
}

/// When the first of the holds ends that an answer brings.
fn first_end(record: &Record) -> Option<Micros> {
    match (&record.call, &record.outcome) {
        // Of a repeat, they may be about to end.
        (Call::Reserve(reserve), Outcome::Ok(Answer::Reserved(handed, _))) if !reserve.repeat => {
            handed.iter().filter_map(|handed| handed.until).min()
        }
        (Call::Hold(_), Outcome::Ok(Answer::Held(_, until))) => *until,
        _ => None,
    }
}
