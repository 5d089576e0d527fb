//! Calls that failed and were not to.

use super::{Broken, Verdict};
use crate::history::{History, Outcome, Record};

pub(super) fn check(history: &History, verdict: &mut Verdict) {
    for record in &history.records {
        let Some(why) = unknown(record) else { continue };
        if ["INTERNAL", "PROTOCOL", "Internal", "Unknown:"].iter().any(|word| why.starts_with(word))
        {
            verdict.note(Broken::Internal, format!("{why}, at {}", record.invoked.0));
        }
    }
    if hides_everything(history) {
        for record in &history.records {
            if let Some(why) = unknown(record) {
                let what = format!("{why}, from {} to {}", record.invoked.0, record.replied.0);
                verdict.note(Broken::VisibleFailure, what);
            }
        }
    }
}

/// Whether all faults of the history are such that the SDK hides them.
fn hides_everything(history: &History) -> bool {
    !history.faults.is_empty() && history.faults.iter().all(|fault| fault.kind.is_invisible())
}

fn unknown(record: &Record) -> Option<&str> {
    match &record.outcome {
        Outcome::Unknown(why) => Some(why),
        Outcome::Ok(_) | Outcome::Failed(..) => None,
    }
}
