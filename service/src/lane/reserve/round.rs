//! The steps of a reserve: take, look up, explain, fall back to the last resort.

use super::{
    DeviceOutcome, Outcome, ReservePart,
    budget::{Allowance, Budget, pair},
    granted::release_item,
    wants::{PartWant, Wants},
};
use crate::{
    limits::{Limit, Limits},
    store::{Locked, Missing, Own, ReserveFilter, ReservedRow, Session, StoreError, Want},
};
use jiff::Timestamp;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// How often packages that others have locked are waited for, before they are counted as gone. Each wait ends with one
/// package taken by somebody.
const WAITS: usize = 8;

/// Parts that share a filter, and what they have reached so far. Numbers of wants are their places in `wants`.
pub(super) struct Round {
    filter: ReserveFilter,
    /// Ordered by device.
    wants: Vec<PartWant>,
    /// With the numbers of the parts.
    outcomes: Vec<(usize, DeviceOutcome)>,
    budget: Budget,
}

impl Round {
    /// Begins a round for the parts of these numbers.
    pub(super) async fn of(
        session: &mut Session,
        filter: ReserveFilter,
        parts: &[&ReservePart],
        numbers: &[usize],
        limits: Arc<Limits>,
    ) -> Result<Self, StoreError> {
        let Wants { wants, without_device } =
            Wants::of(session, parts, numbers, filter.now).await?;
        let budget = Budget::of(session, limits, &wants, filter.now).await?;
        let mut outcomes = without_device;
        outcomes.reserve(wants.len());
        Ok(Self { filter, wants, outcomes, budget })
    }

    /// Reserves, and returns what was reached with the numbers of the parts.
    pub(super) async fn run(
        mut self,
        session: &mut Session,
    ) -> Result<Vec<(usize, DeviceOutcome)>, StoreError> {
        self.reserve(session).await?;
        Ok(self.outcomes)
    }

    /// Calls a pool exhausted only if no package is left that another transaction has merely locked.
    async fn reserve(&mut self, session: &mut Session) -> Result<(), StoreError> {
        let all: Vec<usize> = (0..self.wants.len()).collect();
        let Allowed { one_time, last_resort, nothing } = self.within_limits(all);
        let mut open = self.take(session, one_time, Locked::Skip).await?;
        for &want in &open {
            self.budget.give_back(&self.wants[want].want, Allowance::OneTime);
        }
        for &want in &last_resort {
            self.budget.give_back(&self.wants[want].want, Allowance::LastResort);
        }
        open.extend(last_resort);
        open.extend(nothing.into_iter().map(|(want, _)| want));
        if open.is_empty() {
            return Ok(());
        }
        open.sort_unstable();
        // What a reservation has already is no matter of limits.
        let open = self.look_up(session, open).await?;
        let Allowed { one_time: mut open, last_resort, nothing } = self.within_limits(open);
        for (want, limit) in nothing {
            limit.hit();
            self.settle(want, Outcome::Limited);
        }
        for want in self.share(session, last_resort).await? {
            Limit::Device.hit();
            self.budget.give_back(&self.wants[want].want, Allowance::LastResort);
            self.settle(want, Outcome::Limited);
        }
        for wait in 0..=WAITS {
            if open.is_empty() {
                return Ok(());
            }
            let found = self.explain(session, open).await?;
            let takable = |&(_, missing): &(usize, Missing)| missing.takable && wait < WAITS;
            let (takable, gone): (Vec<_>, Vec<_>) = found.into_iter().partition(takable);
            self.fall_back(session, gone).await?;
            let takable = takable.into_iter().map(|(want, _)| want).collect();
            open = self.take(session, takable, Locked::Wait).await?;
        }
        Ok(())
    }

    /// Takes packages, and returns the wants that got none.
    async fn take(
        &mut self,
        session: &mut Session,
        wants: Vec<usize>,
        locked: Locked,
    ) -> Result<Vec<usize>, StoreError> {
        if wants.is_empty() {
            return Ok(wants);
        }
        let taken = session.take(&self.filter, &self.refs(&wants), locked).await?;
        let kept = self.keep_within_limits(session, &wants, taken).await?;
        Ok(self.settle_all(wants, kept))
    }

    /// Gives back what holders have too much of, because another replica let them in at the same moment.
    async fn keep_within_limits(
        &mut self,
        session: &mut Session,
        wants: &[usize],
        taken: Vec<(usize, ReservedRow)>,
    ) -> Result<Vec<(usize, Outcome)>, StoreError> {
        let of_place = |place: usize| &self.wants[wants[place]].want;
        let takers: Vec<&Want> = taken.iter().map(|(place, _)| of_place(*place)).collect();
        let mut excess = self.budget.excess(session, &takers).await?;
        let (mut give_back, mut uncharged) = (Vec::new(), Vec::new());
        let mut outcomes = Vec::with_capacity(taken.len());
        for (place, row) in taken {
            let want = of_place(place);
            let kept = match excess.get_mut(&pair(want)) {
                Some(excess) if *excess > 0 => {
                    *excess -= 1;
                    give_back.push(release_item(
                        &want.device,
                        &want.reservation,
                        &want.holder,
                        &row,
                    ));
                    Limit::Holds.hit();
                    uncharged.push(wants[place]);
                    Outcome::Limited
                }
                _ => Outcome::Reserved(row),
            };
            outcomes.push((place, kept));
        }
        for want in uncharged {
            self.budget.give_back(&self.wants[want].want, Allowance::OneTime);
        }
        if !give_back.is_empty() {
            session.release(&give_back, self.filter.now).await?;
        }
        Ok(outcomes)
    }

    /// Finds what reservations have from earlier calls, and returns the wants that have nothing.
    async fn look_up(
        &mut self,
        session: &mut Session,
        wants: Vec<usize>,
    ) -> Result<Vec<usize>, StoreError> {
        let own = session.own(&self.filter, &self.refs(&wants)).await?;
        let mut held = Vec::new();
        let mut known = HashSet::new();
        for (place, own) in own {
            let want = wants[place];
            known.insert(want);
            match own {
                Own::Package(row) if row.spent || row.last_resort => {
                    self.settle(want, Outcome::Reserved(row));
                }
                Own::Package(row) => held.push((want, row)),
                Own::OtherSuite => self.settle(want, Outcome::OtherSuite),
                Own::OtherGroup => self.settle(want, Outcome::OtherGroup),
                Own::OtherHolder => self.settle(want, Outcome::OtherHolder),
            }
        }
        let mut open: Vec<usize> = wants.into_iter().filter(|want| !known.contains(want)).collect();
        if !held.is_empty() {
            let asked: Vec<_> =
                held.iter().map(|(want, row)| (&self.wants[*want].want, &row.reference)).collect();
            let renewed = session.renew(&asked, self.filter.now).await?;
            let renewed: HashMap<usize, (Timestamp, Timestamp)> =
                renewed.into_iter().map(|(place, end, asked)| (place, (end, asked))).collect();
            for (place, (want, row)) in held.into_iter().enumerate() {
                match renewed.get(&place) {
                    Some(&(held_until, asked_at)) => {
                        let row = ReservedRow {
                            held_until: Some(held_until),
                            asked_at: Some(asked_at),
                            ..row
                        };
                        self.settle(want, Outcome::Reserved(row));
                    }
                    // Somebody took it over in between.
                    None => open.push(want),
                }
            }
        }
        open.sort_unstable();
        Ok(open)
    }

    /// Says for each want what there is of its device, which is looked at once.
    async fn explain(
        &self,
        session: &mut Session,
        wants: Vec<usize>,
    ) -> Result<Vec<(usize, Missing)>, StoreError> {
        let device = |want: usize| &self.wants[want].want.device;
        let mut firsts = wants.clone();
        firsts.dedup_by(|next, one| device(*next) == device(*one));
        let found = session.explain_missing(&self.filter, &self.refs(&firsts)).await?;
        let mut found = firsts.into_iter().zip(found).peekable();
        let mut explained = Vec::with_capacity(wants.len());
        let mut missing = Missing::default();
        for want in wants {
            if let Some((_, next)) = found.next_if(|(first, _)| *first == want) {
                missing = next;
            }
            explained.push((want, missing));
        }
        Ok(explained)
    }

    /// Hands out last-resort packages, and settles what is missing.
    async fn fall_back(
        &mut self,
        session: &mut Session,
        wants: Vec<(usize, Missing)>,
    ) -> Result<(), StoreError> {
        if wants.is_empty() {
            return Ok(());
        }
        let (numbers, missing): (Vec<usize>, Vec<Missing>) = wants.into_iter().unzip();
        for &want in &numbers {
            self.budget.no_one_time(&self.wants[want].want);
        }
        let missing: HashMap<usize, Missing> = numbers.iter().copied().zip(missing).collect();
        for want in self.share(session, numbers).await? {
            self.budget.give_back(&self.wants[want].want, Allowance::LastResort);
            self.settle(want, Outcome::Missing(missing[&want]));
        }
        Ok(())
    }

    /// Hands out last-resort packages, and returns the wants of devices that have none.
    async fn share(
        &mut self,
        session: &mut Session,
        wants: Vec<usize>,
    ) -> Result<Vec<usize>, StoreError> {
        if wants.is_empty() {
            return Ok(wants);
        }
        let handed_out = session.last_resort(&self.filter, &self.refs(&wants)).await?;
        let handed_out = handed_out.into_iter().map(|(place, row)| (place, Outcome::Reserved(row)));
        Ok(self.settle_all(wants, handed_out.collect()))
    }

    fn refs(&self, wants: &[usize]) -> Vec<&Want> {
        wants.iter().map(|&want| &self.wants[want].want).collect()
    }

    /// Settles the wants that have an outcome, by their places, and returns the others.
    fn settle_all(&mut self, wants: Vec<usize>, outcomes: Vec<(usize, Outcome)>) -> Vec<usize> {
        let mut left: Vec<Option<usize>> = wants.into_iter().map(Some).collect();
        for (place, outcome) in outcomes {
            if let Some(want) = left[place].take() {
                self.settle(want, outcome);
            }
        }
        left.into_iter().flatten().collect()
    }

    fn settle(&mut self, want: usize, outcome: Outcome) {
        let PartWant { want: Want { device, .. }, part, .. } = &self.wants[want];
        let outcome = DeviceOutcome {
            user: device.user.clone(),
            device: Some(device.device.clone()),
            outcome,
        };
        self.outcomes.push((*part, outcome));
    }

    /// Charges each want to its holder's limits, and says what it may be given.
    fn within_limits(&mut self, wants: Vec<usize>) -> Allowed {
        let mut allowed = Allowed::default();
        for want in wants {
            match self.budget.charge(&self.wants[want].want) {
                Ok(Allowance::OneTime) => allowed.one_time.push(want),
                Ok(Allowance::LastResort) => allowed.last_resort.push(want),
                Err(limit) => allowed.nothing.push((want, limit)),
            }
        }
        allowed
    }
}

/// What wants may be given: one-time packages, the last resort only, or nothing.
#[derive(Default)]
struct Allowed {
    one_time: Vec<usize>,
    last_resort: Vec<usize>,
    nothing: Vec<(usize, Limit)>,
}
