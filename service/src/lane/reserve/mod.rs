//! Ensures that reservations hold packages.
//!
//! A batch is cut into rounds that can be served by the same statements; what a call reached in its rounds is
//! [granted](Granted) to it. No statement waits for a row that another transaction has locked: what is contended has to be
//! asked for again.

mod budget;
mod call;
mod granted;
mod new_holds;
mod outcome;
mod round;
mod spare;
mod wants;

pub use call::ReserveCall;
pub use granted::Granted;
pub use outcome::{DeviceOutcome, Outcome};

use super::{Family, LaneRules, Work, hold::Hold};
use crate::{
    store::{ReserveFilter, Session, StoreError},
    types::{ReservationId, Target},
};
use jiff::Timestamp;
use round::Round;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The targets of a call that are one lane's.
pub(super) struct ReservePart {
    call: Arc<ReserveCall>,
    targets: Vec<Target>,
    /// When batches with this part were begun. A batch that is run again, because its reply was lost, finds what it took the first
    /// time, which is as new as what it takes then.
    begun: Mutex<Vec<Timestamp>>,
}

impl ReservePart {
    pub(super) fn new(call: &Arc<ReserveCall>, targets: Vec<Target>) -> Self {
        Self { call: call.clone(), targets, begun: Mutex::default() }
    }

    /// Notes that a batch with it begins.
    fn begin(&self, now: Timestamp) {
        self.lock().push(now);
    }

    /// Whether an earlier batch with it took a package that the reservation took then, by the database's precision. The batch
    /// that executes found its packages there.
    fn has_taken(&self, taken_at: Timestamp) -> bool {
        let is_then = |begun: &Timestamp| begun.as_microsecond() == taken_at.as_microsecond();
        self.lock().split_last().is_some_and(|(_executes, earlier)| earlier.iter().any(is_then))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Timestamp>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Executes [`ReservePart`]s.
pub(super) struct Reserve {
    rules: LaneRules,
    hold: Arc<Family<Hold>>,
}

impl Reserve {
    pub(super) fn new(rules: LaneRules, hold: Arc<Family<Hold>>) -> Self {
        Self { rules, hold }
    }
}

impl Work for Reserve {
    const NAME: &'static str = "reserve";
    const GIVES_BACK: bool = true;
    type Item = ReservePart;
    type Reply = Granted;

    fn weight(part: &ReservePart) -> usize {
        part.targets.len()
    }

    async fn run(
        &self,
        session: &mut Session,
        parts: &[&ReservePart],
    ) -> Result<Vec<Granted>, StoreError> {
        let mut granted: Vec<Granted> = parts
            .iter()
            .map(|part| Granted::nothing(part.call.clone(), self.hold.clone()))
            .collect();
        for round in rounds(parts) {
            let now = self.rules.clock.now();
            round.iter().for_each(|&number| parts[number].begin(now));
            let part = parts[round[0]];
            let filter = ReserveFilter {
                now,
                min_not_after: now + part.call.min_remaining,
                cipher_suites: part.call.cipher_suites.clone(),
            };
            let (rules, hold) = (&self.rules, self.hold.clone());
            let round = Round::of(session, filter, parts, &round, rules, &mut granted, hold);
            round.await?.run(session).await?;
        }
        Ok(granted)
    }
}

/// Distributes parts so that those of a round share one filter and no two are of the same reservation: a repeat must find
/// what the call before it has reserved.
fn rounds(parts: &[&ReservePart]) -> Vec<Vec<usize>> {
    let mut rounds: Vec<(Vec<usize>, HashSet<&ReservationId>)> = Vec::with_capacity(1);
    for (number, part) in parts.iter().enumerate() {
        let fits = |(round, reservations): &(Vec<usize>, HashSet<&ReservationId>)| {
            part.call.has_filter_of(&parts[round[0]].call)
                && !reservations.contains(&part.call.reservation)
        };
        let place = rounds.iter().position(fits).unwrap_or_else(|| {
            rounds.push(Default::default());
            rounds.len() - 1
        });
        rounds[place].0.push(number);
        rounds[place].1.insert(&part.call.reservation);
    }
    rounds.into_iter().map(|(round, _)| round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GroupId, Holder, ReturnedTo};
    use jiff::SignedDuration;

    /// Another replica may take a package for the same reservation in the same microsecond.
    #[test]
    fn what_a_batch_finds_it_has_taken_only_if_it_was_begun_before() {
        let call = ReserveCall {
            reservation: ReservationId::new("r").unwrap(),
            group: GroupId::new("group").unwrap(),
            holder: Holder::new("alice").unwrap(),
            principal: Holder::new("alice").unwrap(),
            ttl: SignedDuration::from_secs(60),
            cipher_suites: Vec::new(),
            min_remaining: SignedDuration::ZERO,
            returned_to: ReturnedTo::Anyone,
            max_holds: None,
        };
        let part = ReservePart::new(&Arc::new(call), Vec::new());
        let first = Timestamp::constant(1_800_000_000, 0);
        let second = first + SignedDuration::from_micros(1);
        part.begin(first);
        assert!(!part.has_taken(first));
        part.begin(second);
        assert!(part.has_taken(first) && !part.has_taken(second));
    }
}
