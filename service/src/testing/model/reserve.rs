use super::{Entry, Facts, Hold, Model, Owner, Package, State};
use crate::{
    pool::{MissingReason, MissingTarget, PoolError, ReserveRequest, Target},
    types::{CipherSuite, KeyPackageRef, ReservationId},
};
use jiff::Timestamp;
use std::{cmp::Reverse, collections::BTreeSet};

/// What a reserve leads to.
#[derive(Debug)]
pub enum Reserved {
    /// Something is held, or nothing was wanted.
    Done {
        /// What is held, one element for each device.
        granted: Vec<Granted>,
        /// For whom nothing is.
        missing: Vec<MissingTarget>,
    },
    /// Nothing is held.
    Missing(Vec<MissingTarget>),
    /// The reservation is another holder's, or another group's, or both.
    Refused(Refusal),
}

/// What the reservation has of one device: any of these.
#[derive(Debug)]
pub struct Granted {
    /// The device.
    pub owner: Owner,
    /// What it may be.
    pub any_of: Vec<Grant>,
}

/// A package of a reservation.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The package.
    pub reference: KeyPackageRef,
    /// When the hold ends; none if it is spent.
    pub held_until: Option<Timestamp>,
}

/// Why a reservation can't be the caller's.
#[derive(Debug, Default, Clone, Copy)]
pub struct Refusal {
    other_holder: bool,
    other_group: bool,
}

/// What one device comes to.
enum Ensured {
    Granted(Vec<Grant>),
    Missing(MissingReason),
    Refused(Refusal),
}

impl Refusal {
    /// Whether an error says so.
    pub fn explains(self, error: &PoolError) -> bool {
        match error {
            PoolError::NotTheHolder(_) => self.other_holder,
            PoolError::ReservationIdReused(_) => self.other_group,
            _ => false,
        }
    }

    fn is_needed(self) -> bool {
        self.other_holder || self.other_group
    }
}

impl Model {
    /// Ensures that a reservation holds one package of each target device.
    pub fn reserve(&mut self, request: &ReserveRequest) -> Reserved {
        let mut missing: Vec<_> =
            request.targets.iter().filter_map(|target| self.unknown(target)).collect();
        let mut granted = Vec::new();
        let mut refusal = Refusal::default();
        for owner in self.wanted(&request.targets) {
            match self.ensure(&owner, request) {
                Ensured::Granted(any_of) => granted.push(Granted { owner, any_of }),
                Ensured::Missing(reason) => missing.push(MissingTarget {
                    user: owner.user,
                    device: Some(owner.device),
                    reason,
                    limited: None,
                }),
                Ensured::Refused(other) => {
                    refusal.other_holder |= other.other_holder;
                    refusal.other_group |= other.other_group;
                }
            }
        }
        missing.sort_by(|a, b| (&a.user, &a.device).cmp(&(&b.user, &b.device)));
        missing.dedup();

        let too_little = !missing.is_empty() && (request.require_all || granted.is_empty());
        if refusal.is_needed() || too_little {
            self.give_back(&request.reservation, &granted);
        }
        if refusal.is_needed() {
            Reserved::Refused(refusal)
        } else if too_little {
            Reserved::Missing(missing)
        } else {
            Reserved::Done { granted, missing }
        }
    }

    fn unknown(&self, target: &Target) -> Option<MissingTarget> {
        let user = target.user.clone();
        if !self.knows(&user, None) {
            return Some(MissingTarget {
                user,
                device: None,
                reason: MissingReason::UnknownUser,
                limited: None,
            });
        }
        let owner = Owner { user: user.clone(), device: target.device.clone()? };
        (!self.devices.contains_key(&owner)).then_some(MissingTarget {
            user,
            device: Some(owner.device),
            reason: MissingReason::UnknownDevice,
            limited: None,
        })
    }

    fn wanted(&self, targets: &[Target]) -> BTreeSet<Owner> {
        let wants = |owner: &&Owner| {
            targets.iter().any(|target| {
                target.user == owner.user
                    && target.device.as_ref().is_none_or(|device| *device == owner.device)
                    && !target.excluded.contains(&owner.device)
            })
        };
        self.devices.keys().filter(wants).cloned().collect()
    }

    fn ensure(&mut self, owner: &Owner, request: &ReserveRequest) -> Ensured {
        let now = self.now;
        let hold = Hold {
            reservation: request.reservation.clone(),
            group: request.group.clone(),
            holder: request.caller.holder.clone(),
            until: now + request.hold.unwrap_or(self.policy.default_hold),
        };
        let refusal = self.refusal(owner, &hold);
        if refusal.is_needed() {
            return Ensured::Refused(refusal);
        }
        let mut had = self.had(owner, &hold.reservation);
        if !had.is_empty() {
            had.retain(|(facts, _)| suits(request, facts.suite));
            if had.is_empty() {
                return Ensured::Missing(MissingReason::NoCompatiblePackage);
            }
            if let Some(grants) = self.renew(had, &hold) {
                return Ensured::Granted(grants);
            }
        }
        if request.caller.limited
            && self.live_holds(owner, &hold) >= self.policy.max_holds_per_device
        {
            return Ensured::Missing(MissingReason::RateLimited);
        }
        self.hand_out(owner, hold, request)
    }

    fn hand_out(&mut self, owner: &Owner, hold: Hold, request: &ReserveRequest) -> Ensured {
        let now = self.now;
        let suits = |suite| suits(request, suite);
        let floor = self.policy.validation.min_remaining;
        let lasting_beyond = now + request.min_remaining.map_or(floor, |wanted| wanted.max(floor));
        let candidates =
            || self.of(owner).filter(|one| suits(one.facts.suite) && one.available(now));
        let lasting = || candidates().filter(|one| one.facts.not_after > lasting_beyond);
        // The one that expires soonest goes first.
        let one_time = lasting().filter(|one| !one.facts.last_resort);
        if let Some(one) = one_time.min_by_key(|one| one.facts.not_after) {
            let facts = one.facts;
            return Ensured::Granted(vec![self.take(facts, hold)]);
        }
        // The contract leaves open which of several suites' goes first: the newest does, and then the least ref.
        let last_resort = lasting().filter(|one| one.current_last_resort(now));
        let newest = |one: &&Package| (one.uploaded_at, Reverse(one.facts.reference.clone()));
        if let Some(one) = last_resort.max_by_key(newest) {
            let facts = one.facts;
            return Ensured::Granted(vec![self.share(facts, &hold, request)]);
        }
        let mut suites = self.books.keys().filter(|(of, _)| of == owner).map(|(_, suite)| *suite);
        let asked_for_more = lasting_beyond > now + floor;
        let too_short =
            candidates().any(|one| !one.facts.last_resort || one.current_last_resort(now));
        Ensured::Missing(if !suites.any(suits) || (asked_for_more && too_short) {
            MissingReason::NoCompatiblePackage
        } else {
            MissingReason::PoolExhausted
        })
    }

    /// Whether the reservation is another's on this device: whatever it holds there, and whatever the log says of it.
    fn refusal(&self, owner: &Owner, hold: &Hold) -> Refusal {
        let held = self.of(owner).filter(|one| one.stands(self.now)).filter_map(Package::hold);
        let held = held.map(|one| (&one.reservation, &one.holder, &one.group));
        let logged = self.log.iter().filter(|entry| entry.owner == *owner);
        let logged = logged.map(|one| (&one.reservation, &one.holder, &one.group));
        let mut refusal = Refusal::default();
        for (_, holder, group) in held.chain(logged).filter(|one| *one.0 == hold.reservation) {
            refusal.other_holder |= *holder != hold.holder;
            refusal.other_group |= *group != hold.group;
        }
        refusal
    }

    /// What the reservation has of a device from before, with the ends of the holds; those that are spent have none.
    fn had(
        &self,
        owner: &Owner,
        reservation: &ReservationId,
    ) -> Vec<(&'static Facts, Option<Timestamp>)> {
        let now = self.now;
        let held = self.of(owner).filter(|one| one.stands(now)).filter_map(|one| {
            let hold = one.hold().filter(|hold| hold.reservation == *reservation)?;
            Some((one.facts, Some(hold.until)))
        });
        let own = |entry: &&Entry| entry.owner == *owner && entry.reservation == *reservation;
        let logged = self.log.iter().filter(own).filter_map(|entry| {
            let package = self.packages.get(&entry.reference)?;
            if entry.spent_at.is_some() {
                return Some((package.facts, None));
            }
            let held = entry.live(now) && package.stands(now);
            held.then_some((package.facts, entry.held_until))
        });
        held.chain(logged).collect()
    }

    /// What is spent, or else the hold that lasts longest; a lapsed one is held again. None if that is on a package which a fence
    /// keeps back: it is handed out to nobody.
    fn renew(
        &mut self,
        had: Vec<(&'static Facts, Option<Timestamp>)>,
        again: &Hold,
    ) -> Option<Vec<Grant>> {
        let grant =
            |facts: &Facts, held_until| Grant { reference: facts.reference.clone(), held_until };
        if had.iter().any(|(_, until)| until.is_none()) {
            let spent = had.iter().filter(|(_, until)| until.is_none());
            return Some(spent.map(|(facts, _)| grant(facts, None)).collect());
        }
        let longest = had.into_iter().max_by_key(|(facts, until)| (*until, !facts.last_resort));
        let (facts, until) = longest?;
        if self.packages[&facts.reference].kept_back {
            return None;
        }
        Some(match until {
            Some(until) if until > self.now => vec![grant(facts, Some(until))],
            _ => vec![self.take(facts, again.clone())],
        })
    }

    fn live_holds(&self, owner: &Owner, by: &Hold) -> u32 {
        let held = self.of(owner).filter(|one| one.stands(self.now)).filter_map(Package::hold);
        let live = held.filter(|hold| hold.holder == by.holder && hold.until > self.now).count();
        u32::try_from(live).unwrap()
    }

    fn take(&mut self, facts: &Facts, hold: Hold) -> Grant {
        let package = self.packages.get_mut(&facts.reference).unwrap();
        if let Some(before) = package.hold().cloned()
            && before.reservation != hold.reservation
        {
            package.lost.insert(before.reservation);
        }
        package.lost.remove(&hold.reservation);
        let grant = Grant { reference: facts.reference.clone(), held_until: Some(hold.until) };
        package.state = State::Pooled(Some(hold));
        grant
    }

    fn share(&mut self, facts: &Facts, hold: &Hold, request: &ReserveRequest) -> Grant {
        let before = self.log.iter_mut().find(|entry| {
            entry.reference == facts.reference && entry.reservation == hold.reservation
        });
        let entry = hold.entry(facts, &request.caller, self.now);
        let entry = match before {
            Some(before) => before,
            None => {
                self.log.push(entry);
                self.log.last_mut().unwrap()
            }
        };
        entry.released_at = None;
        entry.held_until = Some(hold.until);
        Grant { reference: facts.reference.clone(), held_until: Some(hold.until) }
    }

    fn give_back(&mut self, reservation: &ReservationId, granted: &[Granted]) {
        for grant in granted.iter().flat_map(|one| &one.any_of) {
            if grant.held_until.is_none() {
                continue;
            }
            let package = self.packages.get_mut(&grant.reference).unwrap();
            if !package.facts.last_resort {
                package.state = State::Pooled(None);
                continue;
            }
            let own = |entry: &&mut Entry| {
                entry.reference == grant.reference && entry.reservation == *reservation
            };
            self.log.iter_mut().find(own).unwrap().released_at = Some(self.now);
        }
    }
}

fn suits(request: &ReserveRequest, suite: CipherSuite) -> bool {
    request.cipher_suites.is_empty() || request.cipher_suites.contains(&suite)
}
