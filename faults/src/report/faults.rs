//! Counts of what calls came to while there were faults.

use crate::history::{Fault, History};
use serde::Serialize;
use std::collections::BTreeMap;

/// What happened during the faults of one kind.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Suffered {
    /// How many there were.
    pub(super) times: usize,
    /// How long they lasted in all.
    pub(super) seconds: f64,
    /// Calls that succeeded, begun and answered meanwhile.
    pub(super) ok: usize,
    /// Calls of which nobody knows what came, under way at some moment of it.
    pub(super) unknown: usize,
}

/// What calls came to, by when they were made.
#[derive(Debug, Default)]
pub(super) struct Sufferings {
    pub(super) by_fault: BTreeMap<String, Suffered>,
    /// Calls that succeeded before the first fault.
    pub(super) before: usize,
    /// Calls that succeeded after the last fault.
    pub(super) after: usize,
}

impl Sufferings {
    pub(super) fn of(history: &History) -> Self {
        let mut faults: Vec<&Fault> = history.faults.iter().collect();
        faults.sort_by_key(|fault| fault.from);
        let mut sufferings = Self::default();
        for fault in &faults {
            let suffered = sufferings.by_fault.entry(fault.kind.name()).or_default();
            suffered.times += 1;
            suffered.seconds += fault.to.since(fault.from).as_secs_f64();
        }
        for record in &history.records {
            // One fault ends before the next begins.
            let first = faults.partition_point(|fault| fault.to < record.invoked);
            let ok = record.outcome.is_ok();
            sufferings.after += usize::from(ok && first == faults.len());
            sufferings.before +=
                usize::from(ok && faults.first().is_some_and(|fault| record.replied < fault.from));
            let meanwhile = faults[first..].iter().take_while(|fault| fault.from <= record.replied);
            for fault in meanwhile {
                let Some(suffered) = sufferings.by_fault.get_mut(&fault.kind.name()) else {
                    continue;
                };
                let is_within = fault.from <= record.invoked && record.replied <= fault.to;
                suffered.ok += usize::from(ok && is_within);
                suffered.unknown += usize::from(record.outcome.is_unknown());
            }
        }
        sufferings
    }
}
