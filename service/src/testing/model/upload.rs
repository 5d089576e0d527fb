use super::{Facts, Model, Owner, Package, State};
use crate::{
    pool::validation::RejectionReason,
    types::{CipherSuite, KeyPackageRef, ReturnedTo},
};
use std::collections::BTreeMap;

/// What becomes of a package.
#[derive(Debug, Clone, PartialEq)]
pub enum Uploaded {
    /// It is in the pool.
    Accepted,
    /// It was in the pool before.
    AlreadyPresent,
    /// For any of these reasons.
    Rejected(Vec<RejectionReason>),
}

impl Model {
    /// One result for each package, in order.
    pub fn upload(&mut self, owner: &Owner, packages: &[&'static Facts]) -> Vec<Uploaded> {
        let mut outcomes: BTreeMap<KeyPackageRef, Uploaded> = BTreeMap::new();
        let mut results = Vec::new();
        for facts in packages {
            let outcome = match outcomes.get(&facts.reference) {
                // The same package again in one call.
                Some(Uploaded::Accepted) => Uploaded::AlreadyPresent,
                Some(outcome) => outcome.clone(),
                None => self.upload_one(owner, facts),
            };
            outcomes.insert(facts.reference.clone(), outcome.clone());
            results.push(outcome);
        }
        let success = |one: &Uploaded| !matches!(one, Uploaded::Rejected(_));
        if results.iter().any(success) {
            self.devices.insert(owner.clone(), self.now);
        }
        results
    }

    fn upload_one(&mut self, owner: &Owner, facts: &'static Facts) -> Uploaded {
        let now = self.now;
        let mut faults = Vec::new();
        if facts.owner != *owner {
            faults.push(RejectionReason::WrongIdentity);
        }
        if facts.not_after <= now || facts.not_after < now + self.policy.validation.min_remaining {
            faults.push(RejectionReason::Expired);
        }
        if !faults.is_empty() {
            return Uploaded::Rejected(faults);
        }
        if let Some(package) = self.packages.get(&facts.reference) {
            return match package.state {
                State::Pooled(_) => Uploaded::AlreadyPresent,
                State::Spent => Uploaded::Rejected(vec![RejectionReason::AlreadySpent]),
                State::Revoked { .. } => Uploaded::Rejected(vec![RejectionReason::Revoked]),
            };
        }
        if facts.last_resort {
            self.supersede(owner, facts.suite);
        } else if self.is_full(owner, facts.suite) && !self.displace_returned(owner, facts.suite) {
            return Uploaded::Rejected(vec![RejectionReason::PoolFull]);
        }
        self.books.entry((owner.clone(), facts.suite)).or_default().accepted +=
            u64::from(!facts.last_resort);
        let package = Package {
            facts,
            uploaded_at: now,
            superseded_at: None,
            emptied: false,
            state: State::Pooled(None),
            seen_by: None,
            returned_to: ReturnedTo::Anyone,
            kept_back: false,
        };
        self.packages.insert(facts.reference.clone(), package);
        Uploaded::Accepted
    }

    fn supersede(&mut self, owner: &Owner, suite: CipherSuite) {
        for package in self.packages.values_mut() {
            let facts = package.facts;
            if facts.owner == *owner && facts.suite == suite && facts.last_resort {
                package.superseded_at.get_or_insert(self.now);
            }
        }
    }

    /// Revokes the package that nobody else gets and that expires soonest, if there is room for others but for those.
    fn displace_returned(&mut self, owner: &Owner, suite: CipherSuite) -> bool {
        let now = self.now;
        let standing = |one: &&Package| {
            one.facts.owner == *owner
                && !one.facts.last_resort
                && one.facts.suite == suite
                && one.stands(now)
        };
        let is_returned = |one: &&Package| one.returned_to != ReturnedTo::Anyone && !one.held(now);
        let (returned, others): (Vec<_>, Vec<_>) =
            self.packages.values().filter(standing).partition(is_returned);
        if others.len() >= self.policy.cap as usize {
            return false;
        }
        let soonest = returned.iter().min_by_key(|one| one.facts.not_after);
        let Some(reference) = soonest.map(|one| one.facts.reference.clone()) else { return false };
        let package = self.packages.get_mut(&reference).unwrap();
        if let State::Pooled(hold) = &mut package.state {
            package.state = State::Revoked { at: now, hold: hold.take() };
            package.emptied = true;
        }
        true
    }

    fn is_full(&self, owner: &Owner, suite: CipherSuite) -> bool {
        let one_time = |one: &&Package| !one.facts.last_resort && one.facts.suite == suite;
        let standing = || self.of(owner).filter(one_time).filter(|one| one.stands(self.now));
        let cap = self.policy.cap as usize;
        let is_returned =
            |one: &&Package| one.returned_to != ReturnedTo::Anyone && !one.held(self.now);
        let returned = standing().filter(is_returned).count();
        standing().count() - returned.min(cap) >= cap
    }
}
