use super::{Entry, Hold, Model, Package, State, Unusable};
use crate::{
    pool::{Extension, HoldFault, HoldRequest, PackageName, Release, SpendRequest},
    types::GroupId,
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
        if let Some(entry) = self.entry(call, name) {
            entry.spent_at.get_or_insert(now);
            return faults;
        }
        let package = self.packages.get_mut(&name.reference).unwrap();
        let hold = package.hold().unwrap();
        let entry = hold.entry(package.facts, &call.caller, now);
        self.log.push(Entry { spent_at: Some(now), ..entry });
        package.state = State::Spent;
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
            if self.entry(call, name).is_some_and(|entry| entry.spent_at.is_some()) {
                fate.insert(HoldFault::AlreadySpent);
            }
            if fate.is_empty() {
                let end = match self.entry(call, name) {
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
        let items = call.packages.iter().zip(&request.unusable);
        items.map(|(name, &unusable)| self.release_one(call, name, unusable)).collect()
    }

    fn release_one(
        &mut self,
        call: &HoldRequest,
        name: &PackageName,
        unusable: Option<i16>,
    ) -> Fate {
        let mut fate = Fate::new();
        let now = self.now;
        if let Some(entry) = self.entry(call, name) {
            if entry.holder != call.caller.holder {
                fate.insert(HoldFault::NotTheHolder);
            }
            if entry.spent_at.is_some() {
                fate.insert(HoldFault::AlreadySpent);
            }
            if !fate.is_empty() || entry.released_at.is_some() {
                return fate;
            }
            entry.released_at = Some(now);
            if let (Some(package), Some(reason)) =
                (self.packages.get_mut(&name.reference), unusable)
            {
                package.set_aside(now, reason);
            }
            return fate;
        }
        let Some((package, hold)) = self.held(call, name) else { return fate };
        if hold.holder != call.caller.holder {
            fate.insert(HoldFault::NotTheHolder);
        } else if let Some(reason) = unusable {
            package.set_aside(now, reason);
        } else {
            package.forget_hold();
        }
        fate
    }

    /// Why the reservation may not use a package up.
    fn faults(&mut self, call: &HoldRequest, group: Option<&GroupId>, name: &PackageName) -> Fate {
        let now = self.now;
        let foreign = |hold: &Hold| {
            let mut faults = Fate::new();
            if hold.holder != call.caller.holder {
                faults.insert(HoldFault::NotTheHolder);
            }
            if group.is_some_and(|group| *group != hold.group) {
                faults.insert(HoldFault::OtherGroup);
            }
            faults
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

        if let Some(entry) = self.entry(call, name) {
            let mut faults = foreign(&entry.as_hold());
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
            let mut faults = foreign(&hold);
            if package.has_doubtful_hold(now) {
                faults.insert(HoldFault::Lost);
            }
            faults.extend(over);
            return faults;
        }
        self.package(name)
            .map_or(Fate::from([HoldFault::NotFound]), |package| package.why_not_held(call))
    }

    /// What the log says of a package and the reservation.
    fn entry(&mut self, call: &HoldRequest, name: &PackageName) -> Option<&mut Entry> {
        self.log.iter_mut().find(|entry| {
            entry.reservation == call.reservation
                && entry.reference == name.reference
                && entry.owner.user == name.user
                && entry.owner.device == name.device
        })
    }

    fn package(&self, name: &PackageName) -> Option<&Package> {
        self.packages.get(&name.reference).filter(|one| one.is_named(name))
    }

    /// A package on which the reservation has the latest hold, live or lapsed.
    fn held(&mut self, call: &HoldRequest, name: &PackageName) -> Option<(&mut Package, Hold)> {
        let package = self.packages.get_mut(&name.reference).filter(|one| one.is_named(name))?;
        let hold = package.hold().filter(|hold| hold.reservation == call.reservation)?.clone();
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

    /// Revokes it because an inviter found it unusable. If it was before, a last-resort package stays revoked since then:
    /// the grace that others have doesn't begin anew.
    fn set_aside(&mut self, now: Timestamp, reason: i16) {
        let at = match self.state {
            State::Revoked { at, .. } if self.facts.last_resort => at,
            _ => now,
        };
        self.unusable.get_or_insert(Unusable { reason, at });
        self.state = State::Revoked { at, hold: None };
    }

    /// Why a reservation that has no hold on it, and has not spent it, can't use it.
    fn why_not_held(&self, call: &HoldRequest) -> Fate {
        let lost = self.lost.contains(&call.reservation);
        if self.facts.last_resort {
            return Fate::from([HoldFault::NotFound]);
        }
        let mut faults = match &self.state {
            State::Spent => return Fate::from([HoldFault::AlreadySpent]),
            // Whether it was lost or never held is told only while another holds it.
            State::Pooled(Some(_)) if lost => return Fate::from([HoldFault::Lost]),
            State::Pooled(Some(_)) => Fate::from([HoldFault::Lost, HoldFault::NotFound]),
            State::Pooled(None) => Fate::from([HoldFault::NotFound]),
            State::Revoked { .. } => Fate::from([HoldFault::Revoked, HoldFault::NotFound]),
        };
        if lost {
            faults.insert(HoldFault::Lost);
        }
        faults
    }
}

impl Entry {
    fn as_hold(&self) -> Hold {
        Hold {
            reservation: self.reservation.clone(),
            group: self.group.clone(),
            holder: self.holder.clone(),
            until: self.logged_at,
        }
    }
}
