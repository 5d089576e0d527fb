//! Counts of what calls came to.

use crate::history::{Action, Answer, Call, Outcome, Record};
use serde::Serialize;
use std::collections::BTreeMap;

/// What the calls of one kind came to.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Handling {
    pub(super) ok: usize,
    /// By reason.
    pub(super) refused: BTreeMap<String, usize>,
    /// By what the client saw.
    pub(super) unknown: BTreeMap<String, usize>,
}

/// What the calls of a history came to.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) unknown: usize,
    pub(super) handed_out: usize,
    pub(super) spent: usize,
    pub(super) uploaded: usize,
    pub(super) by_operation: BTreeMap<String, Handling>,
}

impl Counts {
    pub(super) fn of(records: &[Record]) -> Self {
        let mut counts = Self::default();
        for record in records {
            counts.add(record);
        }
        counts
    }

    fn add(&mut self, record: &Record) {
        let handling = self.by_operation.entry(name(&record.call).to_owned()).or_default();
        match &record.outcome {
            Outcome::Ok(_) => handling.ok += 1,
            Outcome::Failed(why, _) => *handling.refused.entry(why.clone()).or_default() += 1,
            Outcome::Unknown(why) => {
                *handling.unknown.entry(why.clone()).or_default() += 1;
                self.unknown += 1;
            }
        }
        let count = |results: &[Option<String>]| results.iter().filter(|one| one.is_none()).count();
        match (&record.call, record.outcome.answer()) {
            (Call::Reserve(_), Some(Answer::Reserved(handed, _))) => {
                self.handed_out += handed.len()
            }
            (Call::Hold(hold), Some(Answer::Held(results, _))) if hold.action == Action::Spend => {
                self.spent += count(results);
            }
            (Call::Upload(_), Some(Answer::Uploaded(results))) => self.uploaded += count(results),
            _ => {}
        }
    }
}

fn name(call: &Call) -> &'static str {
    match call {
        Call::Reserve(reserve) if reserve.repeat => "reserve again",
        Call::Reserve(_) => "reserve",
        Call::Hold(hold) => match hold.action {
            Action::Spend => "spend",
            Action::Release => "release",
            Action::SetAside => "release as unusable",
            Action::Extend(_) => "extend",
        },
        Call::Upload(_) => "upload",
        Call::Revoke(..) => "revoke",
        Call::Reconcile(..) => "reconcile",
        Call::Status(_) => "status",
    }
}
