//! The steps of a reserve: take, explain, look up, fall back to the last resort.

use super::{
    DeviceOutcome, Granted, Outcome, ReservePart,
    budget::{Budget, Charge, OneTime, pair},
    new_holds::NewHolds,
    spare::Spare,
    wants::{PartWant, Wants},
};
use crate::{
    lane::{Family, LaneRules, hold::Hold},
    limits::Limited,
    store::{KnownDevices, Missing, Own, ReserveFilter, ReservedRow, Session, StoreError, Want},
    types::CipherSuite,
};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Parts that share a filter, and what they have reached so far. Numbers of wants are their places in `wants`.
pub(super) struct Round<'a> {
    filter: ReserveFilter,
    /// Ordered by device.
    wants: Vec<PartWant>,
    /// What each want's holder is charged for it, while it is open and within the limits.
    charges: Vec<Option<Charge>>,
    budget: Budget,
    spare: Spare,
    rules: &'a LaneRules,
    parts: &'a [&'a ReservePart],
    /// What each part of the batch has reached: it gives back what it has if this round fails.
    granted: &'a mut [Granted],
    hold: Arc<Family<Hold>>,
}

impl<'a> Round<'a> {
    /// Begins a round for the parts of these numbers.
    pub(super) async fn of(
        session: &mut Session,
        filter: ReserveFilter,
        parts: &'a [&'a ReservePart],
        numbers: &[usize],
        rules: &'a LaneRules,
        granted: &'a mut [Granted],
        hold: Arc<Family<Hold>>,
    ) -> Result<Self, StoreError> {
        let Wants { wants, settled } = Wants::of(session, parts, numbers, filter.now).await?;
        for (part, outcome) in settled {
            granted[part].push(outcome);
        }
        let budget = Budget::of(session, rules.limits.clone(), &wants, filter.now).await?;
        let charges = wants.iter().map(|_| None).collect();
        Ok(Self {
            filter,
            wants,
            charges,
            budget,
            spare: Spare::default(),
            rules,
            parts,
            granted,
            hold,
        })
    }

    /// Reserves. A pool is called exhausted only if no package is left that another transaction has merely locked, and if the
    /// reservation did not get one meanwhile by another call.
    pub(super) async fn run(mut self, session: &mut Session) -> Result<(), StoreError> {
        let mut limited = HashMap::new();
        let (mut takers, mut open) = (Vec::new(), Vec::new());
        for want in 0..self.wants.len() {
            match self.charge(want) {
                Ok(OneTime::Any) => takers.push(want),
                Ok(OneTime::Spare | OneTime::No) => open.push(want),
                Err(limit) => {
                    limited.insert(want, limit);
                    open.push(want);
                }
            }
        }
        open.extend(self.take(session, None, takers, KnownDevices::LeaveAlone).await?);
        if open.is_empty() {
            return Ok(());
        }
        open.sort_unstable();
        // First why there is nothing, and then what the reservations have: a call that was executing elsewhere has either left
        // a package that looks as if it were free, or what it took is seen now, or it has given that back between the two.
        let mut missing = self.explain(session, &open).await?;
        let (open, held_too_long) = self.look_up(session, open).await?;
        for want in held_too_long {
            // The package is for others now, as are all that somebody has seen: which of them a statement takes is left open.
            missing.entry(want).and_modify(|missing| missing.seen = false);
        }
        // What a reservation has already is no matter of limits.
        for want in &open {
            if limited.contains_key(want)
                && let Ok(_) = self.charge(*want)
            {
                limited.remove(want);
            }
        }
        let (mut takers, mut repeaters, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for want in open {
            let Missing { unseen, seen, ref for_anyone, .. } = missing[&want];
            let allowed = self.charges[want].as_ref().map_or(OneTime::No, Charge::allows);
            match (limited.get(&want), allowed) {
                (Some(limit), _) => self.settle_limited(want, *limit),
                (None, OneTime::Any) if seen || unseen => takers.push(want),
                (None, OneTime::Spare) if seen || unseen => {
                    let device = &self.wants[want].want.device;
                    self.spare.count(device, for_anyone, self.rules.fair_share);
                    repeaters.push(want);
                }
                _ => gone.push(want),
            }
        }
        let mut left = self.take(session, None, takers, KnownDevices::Take).await?;
        // A holder learns of no more packages than it has to.
        let repeaters = self.take_returned(session, repeaters, &missing).await?;
        let mut further: BTreeMap<CipherSuite, Vec<usize>> = BTreeMap::new();
        for want in repeaters {
            match self.spare.take(&self.wants[want].want.device) {
                Some(suite) => further.entry(suite).or_default().push(want),
                None => gone.push(want),
            }
        }
        for (suite, wants) in further {
            left.extend(self.take(session, Some(suite), wants, KnownDevices::Take).await?);
        }
        left.sort_unstable();
        for want in self.take_returned(session, left, &missing).await? {
            self.settle(want, Outcome::Contended);
        }
        gone.sort_unstable();
        for want in self.share(session, gone).await? {
            match self.charges[want].as_ref() {
                Some(charge)
                    if charge.allows() == OneTime::No || !missing[&want].for_anyone.is_empty() =>
                {
                    match charge.limited() {
                        Some(limit) => self.settle_limited(want, limit),
                        None => self.settle(want, Outcome::Missing(missing[&want].clone())),
                    }
                }
                _ => self.settle(want, Outcome::Missing(missing[&want].clone())),
            }
        }
        Ok(())
    }

    /// Takes packages that anybody may be handed, of one acceptable cipher suite or of all, and returns the wants that got none.
    async fn take(
        &mut self,
        session: &mut Session,
        suite: Option<CipherSuite>,
        wants: Vec<usize>,
        known: KnownDevices,
    ) -> Result<Vec<usize>, StoreError> {
        if wants.is_empty() {
            return Ok(wants);
        }
        let narrow =
            suite.map(|suite| ReserveFilter { cipher_suites: vec![suite], ..self.filter.clone() });
        let filter = narrow.as_ref().unwrap_or(&self.filter);
        let taken = session.take(filter, &self.refs(&wants), known).await?;
        // One of a single suite was spare.
        for (place, row) in taken.iter().filter(|_| suite.is_none()) {
            self.spare.handed_out(&self.wants[wants[*place]].want.device, row.cipher_suite);
        }
        self.settle_taken(session, wants, taken).await
    }

    /// Takes packages that the holders have seen before, where there are any, and returns the wants that got none.
    async fn take_returned(
        &mut self,
        session: &mut Session,
        wants: Vec<usize>,
        missing: &HashMap<usize, Missing>,
    ) -> Result<Vec<usize>, StoreError> {
        let (wants, mut left): (Vec<_>, Vec<_>) =
            wants.into_iter().partition(|want| missing[want].seen);
        if !wants.is_empty() {
            let taken = session.take_returned(&self.filter, &self.refs(&wants)).await?;
            for (place, row) in &taken {
                self.spare.handed_out(&self.wants[wants[*place]].want.device, row.cipher_suite);
            }
            left.extend(self.settle_taken(session, wants, taken).await?);
            left.sort_unstable();
        }
        Ok(left)
    }

    /// Notes what was taken, and returns the wants that got nothing.
    async fn settle_taken(
        &mut self,
        session: &mut Session,
        wants: Vec<usize>,
        taken: Vec<(usize, ReservedRow)>,
    ) -> Result<Vec<usize>, StoreError> {
        let mut left: Vec<Option<usize>> = wants.iter().copied().map(Some).collect();
        let mut takers = Vec::with_capacity(taken.len());
        for (place, row) in taken {
            if let Some(want) = left[place].take() {
                takers.push(want);
                self.settle(want, Outcome::Reserved(row));
            }
        }
        self.keep_within_limits(session, &takers).await?;
        Ok(left.into_iter().flatten().collect())
    }

    /// Gives back what holders have too much of, because another replica let them in at the same moment.
    async fn keep_within_limits(
        &mut self,
        session: &mut Session,
        takers: &[usize],
    ) -> Result<(), StoreError> {
        let mut excess = self.budget.excess(session, &self.refs(takers)).await?;
        let mut surplus = NewHolds::none(self.hold.clone());
        for &taker in takers {
            let PartWant { want, part, .. } = &self.wants[taker];
            let Some((excess, limit)) = excess.get_mut(&pair(want)) else { continue };
            if *excess == 0 {
                continue;
            }
            *excess -= 1;
            let limit = *limit;
            if let Some(row) = self.granted[*part].revise(&want.device, Outcome::Limited(limit)) {
                surplus.push(&want.device, &want.reservation, &want.holder, &want.principal, &row);
            }
            limit.limit.hit();
        }
        if !surplus.items().is_empty() {
            let released = session.release(surplus.items(), self.filter.now).await?;
            surplus.forget(&released);
        }
        Ok(())
    }

    /// Finds what reservations have from earlier calls, and returns the wants that have nothing, and those of them whose reservations
    /// held something for as long as they may.
    async fn look_up(
        &mut self,
        session: &mut Session,
        wants: Vec<usize>,
    ) -> Result<(Vec<usize>, Vec<usize>), StoreError> {
        let max_total = self.rules.max_total_hold;
        let own = session.own(&self.filter, &self.refs(&wants), max_total).await?;
        let mut held = Vec::new();
        let (mut known, mut held_too_long) = (HashSet::new(), Vec::new());
        for (place, own) in own {
            let want = wants[place];
            let outcome = match own {
                Own::Package(row) => Outcome::Reserved(row),
                Own::Held(row, taken_at) => {
                    held.push((want, row, taken_at));
                    known.insert(want);
                    continue;
                }
                Own::HeldTooLong => {
                    held_too_long.push(want);
                    continue;
                }
                Own::Quarantined => continue,
                Own::OtherSuite => Outcome::OtherSuite,
                Own::OtherGroup => Outcome::OtherGroup,
            };
            known.insert(want);
            self.uncharge(want);
            self.settle(want, outcome);
        }
        if !held.is_empty() {
            self.renew(session, held).await?;
        }
        let left = wants.into_iter().filter(|want| !known.contains(want)).collect();
        Ok((left, held_too_long))
    }

    /// Notes that what is held was asked for again, and begins lapsed holds anew.
    async fn renew(
        &mut self,
        session: &mut Session,
        held: Vec<(usize, ReservedRow, Timestamp)>,
    ) -> Result<(), StoreError> {
        let asked: Vec<_> =
            held.iter().map(|(want, row, _)| (&self.wants[*want].want, &row.reference)).collect();
        let max_total = self.rules.max_total_hold;
        let renewed = session.renew(&asked, self.filter.now, max_total).await?;
        let renewed: HashMap<usize, (Timestamp, Timestamp)> =
            renewed.into_iter().map(|(place, end, asked)| (place, (end, asked))).collect();
        for (place, (want, row, taken_at)) in held.into_iter().enumerate() {
            let part = self.parts[self.wants[want].part];
            let found = !part.has_taken(taken_at);
            if found {
                self.uncharge(want);
            }
            let outcome = match renewed.get(&place) {
                Some(&(held_until, asked_at)) => Outcome::Reserved(ReservedRow {
                    held_until: Some(held_until),
                    asked_at: Some(asked_at),
                    found,
                    ..row
                }),
                // Another transaction has locked it, or taken it over.
                None => Outcome::Contended,
            };
            self.settle(want, outcome);
        }
        Ok(())
    }

    /// Says for each want what there is of its device.
    async fn explain(
        &self,
        session: &mut Session,
        wants: &[usize],
    ) -> Result<HashMap<usize, Missing>, StoreError> {
        let found = session.explain_missing(&self.filter, &self.refs(wants)).await?;
        Ok(wants.iter().copied().zip(found).collect())
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
        let mut left: Vec<Option<usize>> = wants.iter().copied().map(Some).collect();
        for (place, row) in handed_out {
            if let Some(want) = left[place].take() {
                self.settle(want, Outcome::Reserved(row));
            }
        }
        Ok(left.into_iter().flatten().collect())
    }

    fn refs(&self, wants: &[usize]) -> Vec<&Want> {
        wants.iter().map(|&want| &self.wants[want].want).collect()
    }

    /// Charges a want to its holder's limits, and says which one-time packages it may be given.
    fn charge(&mut self, want: usize) -> Result<OneTime, Limited> {
        let charge = self.budget.charge(&self.wants[want].want)?;
        let allowed = charge.allows();
        self.charges[want] = Some(charge);
        Ok(allowed)
    }

    /// Takes the charge for a want back.
    fn uncharge(&mut self, want: usize) {
        if self.charges[want].take().is_some() {
            self.budget.no_hold(&self.wants[want].want);
        }
    }

    fn settle_limited(&mut self, want: usize, limited: Limited) {
        limited.limit.hit();
        self.settle(want, Outcome::Limited(limited));
    }

    /// Notes what a want reached. Its charge goes with it, and is taken back if it reached nothing.
    fn settle(&mut self, want: usize, outcome: Outcome) {
        let charge = self.charges[want].take().filter(|_| matches!(outcome, Outcome::Reserved(_)));
        let PartWant { want: Want { device, .. }, part, .. } = &self.wants[want];
        self.granted[*part].push(DeviceOutcome {
            user: device.user.clone(),
            device: Some(device.device.clone()),
            outcome,
            charge,
        });
    }
}
