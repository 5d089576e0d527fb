use super::{Entry, Hold, Model, Package, State};
use crate::{
    pool::{Extension, HoldFault, HoldRequest, PackageName, Release, SpendRequest},
    store::Report,
    types::{GroupId, ReturnedTo},
};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// What becomes of one package of a call: it is done, or fails for any of these reasons.
pub type Fate = BTreeSet<HoldFault>;

impl Model {
    /// Uses packages up: what becomes of each.
    pub fn spend(&mut self, request: &SpendRequest) -> Vec<Fate> {
        let hold = &request.hold;
        let names = hold.packages.iter();
        names.map(|name| self.spend_one(hold, &request.group, name)).collect()
    }

    fn spend_one(&mut self, call: &HoldRequest, group: &GroupId, name: &PackageName) -> Fate {
        let faults = self.faults(call, Some(group), name);
        if !faults.is_empty() {
            return faults;
        }
        let now = self.now;
        if let Some(entry) = self.settled_entry(call, name) {
            entry.spent_at.get_or_insert(now);
            return faults;
        }
        let package = self.packages.get_mut(&name.reference).unwrap();
        let (facts, hold) = (package.facts, package.hold().unwrap().clone());
        package.state = State::Spent;
        let entry = self.log_hold(&hold, facts, None);
        entry.spent_at = Some(now);
        entry.principal = Some(call.caller.principal.clone());
        faults
    }

    /// What becomes of each package, and when the first of the holds ends.
    pub fn extend(&mut self, request: &Extension) -> (Vec<Fate>, Timestamp) {
        let call = &request.hold;
        let until = self.now + request.ttl.unwrap_or(self.policy.default_hold);
        let mut ends = Vec::new();
        let mut fates = Vec::new();
        for name in &call.packages {
            let mut fate = self.faults(call, None, name);
            let (now, policy) = (self.now, self.policy.clone());
            let own = self.held(call, name).map(|(_, hold)| hold);
            if self.settled_entry(call, name).is_some_and(|entry| entry.spent_at.is_some()) {
                fate.insert(HoldFault::AlreadySpent);
            } else if fate.is_empty()
                && let Some(hold) = &own
                && hold.is_over(now, &policy)
                && !self.packages[&name.reference].revoked()
            {
                fate.insert(HoldFault::HeldTooLong);
            }
            if fate.is_empty() {
                let is_revoked = self.packages[&name.reference].revoked();
                let most =
                    own.filter(|_| !is_revoked).map(|own| own.taken_at + policy.max_total_hold);
                let until = most.map_or(until, |most| until.min(most));
                let end = match self.settled_entry(call, name) {
                    Some(entry) => entry.held_until.as_mut(),
                    None => self.packages.get_mut(&name.reference).unwrap().hold_end(),
                };
                let end = end.unwrap();
                *end = until.max(*end);
                ends.push(*end);
            }
            fates.push(fate);
        }
        (fates, ends.into_iter().min().unwrap_or(until))
    }

    /// Gives packages back, or sets them aside: what becomes of each.
    pub fn release(&mut self, request: &Release) -> Vec<Fate> {
        let call = &request.hold;
        let items = call.packages.iter().zip(&request.reports);
        items.map(|(name, &report)| self.release_one(call, name, report)).collect()
    }

    fn release_one(
        &mut self,
        call: &HoldRequest,
        name: &PackageName,
        report: Option<Report>,
    ) -> Fate {
        let now = self.now;
        let reason = report.map(|report| report.reason);
        if let Some(entry) = self.settled_entry(call, name) {
            if entry.spent_at.is_some() {
                return Fate::from([HoldFault::AlreadySpent]);
            }
            if entry.released_at.is_none() {
                entry.released_at = Some(now);
                entry.unusable_reason = reason.or(entry.unusable_reason);
            }
            return Fate::new();
        }
        if let Some((package, hold)) = self.held(call, name) {
            let facts = package.facts;
            package.end_hold(&hold, report.is_some_and(|report| report.is_believed), now);
            let entry = self.log_hold(&hold, facts, None);
            entry.released_at = Some(now);
            entry.unusable_reason = reason.or(entry.unusable_reason);
            entry.principal = Some(call.caller.principal.clone());
        }
        Fate::new()
    }

    /// Why the reservation may not use a package up.
    fn faults(&mut self, call: &HoldRequest, group: Option<&GroupId>, name: &PackageName) -> Fate {
        let now = self.now;
        let of_group = |of: &GroupId| {
            let is_other = group.is_some_and(|group| group != of);
            is_other.then_some(HoldFault::OtherGroup).into_iter().collect::<Fate>()
        };
        let over = self.package(name).map_or(Fate::from([HoldFault::Expired, HoldFault::NotFound]), |package| {
            let mut over = Fate::new();
            if package.expired(now) {
                over.insert(HoldFault::Expired);
            }
            if matches!(package.state, State::Revoked { at, .. } if at + self.policy.revocation_grace <= now)
            {
                over.insert(HoldFault::Revoked);
            }
            over
        });

        if let Some(entry) = self.settled_entry(call, name) {
            let mut faults = of_group(&entry.group);
            if !faults.is_empty() || entry.spent_at.is_some() {
                return faults;
            }
            if entry.released_at.is_some() {
                return Fate::from([HoldFault::NotFound]);
            }
            faults.extend(over);
            return faults;
        }
        if let Some((package, hold)) = self.held(call, name) {
            let mut faults = of_group(&hold.group);
            if package.has_doubtful_hold(now) {
                faults.insert(HoldFault::Lost);
            }
            faults.extend(over);
            return faults;
        }
        // What became of it is told only to who has held it until the hold lapsed.
        let became = match self.package(name) {
            None => HoldFault::Expired,
            Some(package) if package.expired(now) => HoldFault::Expired,
            Some(package) => match package.state {
                State::Pooled(_) => HoldFault::Lost,
                State::Revoked { .. } => HoldFault::Revoked,
                State::Spent => HoldFault::AlreadySpent,
            },
        };
        let was_held = self.was_held(call, name);
        let lapsed = self.entry(call, name).filter(|entry| entry.lapsed_at > entry.released_at);
        let Some(group) = lapsed.map(|entry| entry.group.clone()) else {
            let mut faults = Fate::from([HoldFault::NotFound]);
            faults.extend(was_held.then_some(became));
            return faults;
        };
        let mut faults = of_group(&group);
        faults.insert(became);
        faults
    }

    /// Whether the holder has held a package, under whatever reservation.
    fn was_held(&self, call: &HoldRequest, name: &PackageName) -> bool {
        let holder = &call.caller.holder;
        let is_logged = self
            .log
            .iter()
            .any(|entry| entry.holder == *holder && entry.reference == name.reference);
        let is_last = self.package(name).and_then(Package::last_seen_by) == Some(holder);
        is_logged || is_last
    }

    /// What the log says of a package and the reservation.
    fn entry(&mut self, call: &HoldRequest, name: &PackageName) -> Option<&mut Entry> {
        self.log.iter_mut().find(|entry| {
            entry.is_of(&call.reservation, &call.caller.holder, &name.reference)
                && entry.owner.user == name.user
                && entry.owner.device == name.device
        })
    }

    /// The same, if the log has the last word: of what is spent, and of last-resort packages.
    fn settled_entry(&mut self, call: &HoldRequest, name: &PackageName) -> Option<&mut Entry> {
        self.entry(call, name).filter(|entry| entry.last_resort || entry.spent_at.is_some())
    }

    fn package(&self, name: &PackageName) -> Option<&Package> {
        self.packages.get(&name.reference).filter(|one| one.is_named(name))
    }

    /// A package on which the reservation has the latest hold, live or lapsed.
    fn held(&mut self, call: &HoldRequest, name: &PackageName) -> Option<(&mut Package, Hold)> {
        let package = self.packages.get_mut(&name.reference).filter(|one| one.is_named(name))?;
        let hold = package
            .hold()
            .filter(|hold| hold.is_of(&call.reservation, &call.caller.holder))?
            .clone();
        Some((package, hold))
    }
}

impl Package {
    fn is_named(&self, name: &PackageName) -> bool {
        let owner = &self.facts.owner;
        owner.user == name.user && owner.device == name.device
    }

    fn hold_end(&mut self) -> Option<&mut Timestamp> {
        match &mut self.state {
            State::Pooled(hold) | State::Revoked { hold, .. } => Some(&mut hold.as_mut()?.until),
            State::Spent => None,
        }
    }

    pub(super) fn forget_hold(&mut self) {
        if let State::Pooled(hold) | State::Revoked { hold, .. } = &mut self.state {
            *hold = None;
        }
    }

    /// Ends a hold whose holder has seen it, and maybe found it unusable.
    fn end_hold(&mut self, hold: &Hold, is_believed: bool, now: Timestamp) {
        if self.revoked() {
            return self.forget_hold();
        }
        self.forget_hold();
        self.seen_by = Some(hold.holder.clone());
        if is_believed && self.returned_to == ReturnedTo::Anyone {
            self.state = State::Revoked { at: now, hold: None };
            self.emptied |= !self.expired(now);
        } else if is_believed {
            self.returned_to = ReturnedTo::Nobody;
        }
    }
}
