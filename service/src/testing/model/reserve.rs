use super::{Entry, Facts, Hold, Model, Owner, Package, State};
use crate::{
    pool::{MissingReason, MissingTarget, ReserveRequest, Target},
    types::{CipherSuite, KeyPackageRef, ReturnedTo},
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
    /// The holder uses the reservation for another group.
    Refused,
}

/// What the reservation has of one device: any of these.
#[derive(Debug)]
pub struct Granted {
    /// The device.
    pub owner: Owner,
    /// What it may be.
    pub any_of: Vec<Grant>,
    /// Whether it was reserved before.
    found: bool,
}

/// A package of a reservation.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The package.
    pub reference: KeyPackageRef,
    /// When the hold ends; none if it is spent.
    pub held_until: Option<Timestamp>,
    /// Whether its bytes are gone: only if it is spent.
    pub emptied: bool,
}

impl Grant {
    fn held(facts: &Facts, until: Timestamp) -> Self {
        Self { reference: facts.reference.clone(), held_until: Some(until), emptied: false }
    }
}

/// What one device comes to.
enum Ensured {
    Found(Vec<Grant>),
    Granted(Grant),
    Missing(MissingReason),
    Refused,
}

impl Model {
    /// Ensures that a reservation holds one package of each target device.
    pub fn reserve(&mut self, request: &ReserveRequest) -> Reserved {
        let mut missing: Vec<_> =
            request.targets.iter().filter_map(|target| self.unknown(target)).collect();
        let mut granted = Vec::new();
        let mut is_refused = false;
        for owner in self.wanted(&request.targets) {
            match self.ensure(&owner, request) {
                Ensured::Found(any_of) => granted.push(Granted { owner, any_of, found: true }),
                Ensured::Granted(grant) => {
                    granted.push(Granted { owner, any_of: vec![grant], found: false });
                }
                Ensured::Missing(reason) => missing.push(MissingTarget {
                    user: owner.user,
                    device: Some(owner.device),
                    reason,
                    limited: None,
                }),
                Ensured::Refused => is_refused = true,
            }
        }
        missing.sort_by(|a, b| (&a.user, &a.device).cmp(&(&b.user, &b.device)));
        missing.dedup();

        let too_little = !missing.is_empty() && (request.require_all || granted.is_empty());
        if is_refused || too_little {
            self.give_back(request, &granted);
        }
        if is_refused {
            Reserved::Refused
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
            taken_at: now,
        };
        if self.is_of_other_group(owner, &hold) {
            return Ensured::Refused;
        }
        let mut had = self.had(owner, &hold);
        if !had.is_empty() {
            had.retain(|(facts, _)| suits(request, facts.suite));
            if had.is_empty() {
                return Ensured::Missing(MissingReason::NoCompatiblePackage);
            }
            let returned_to = self.policy.returned_packages.after(&request.caller);
            if let Some(grants) = self.renew(had, &hold, returned_to) {
                return Ensured::Found(grants);
            }
        }
        let most = self.policy.max_holds.of(&hold.holder, &owner.user);
        if request.caller.limited && self.live_holds(owner, &hold) >= most {
            return Ensured::Missing(MissingReason::RateLimited);
        }
        self.hand_out(owner, hold, request)
    }

    fn hand_out(&mut self, owner: &Owner, hold: Hold, request: &ReserveRequest) -> Ensured {
        let now = self.now;
        let suits = |suite| suits(request, suite);
        let floor = self.policy.validation.min_remaining;
        let lasting_beyond = now + request.min_remaining.map_or(floor, |wanted| wanted.max(floor));
        let candidates = || self.of(owner).filter(|one| suits(one.facts.suite) && one.free(now));
        let lasting = || candidates().filter(|one| one.facts.not_after > lasting_beyond);
        let held_too_long = self.held_too_long(owner, &hold);
        // Those that nobody has seen go first, then those for anybody; of each the one that expires soonest.
        let may_have = |one: &&Package| match (one.last_seen_by(), one.returned_to) {
            (None, _) => true,
            _ if held_too_long => false,
            (Some(_), ReturnedTo::Anyone) => true,
            (Some(holder), ReturnedTo::SameHolder) => *holder == hold.holder,
            (Some(_), ReturnedTo::Nobody) => false,
        };
        let one_time = lasting().filter(|one| !one.facts.last_resort).filter(may_have);
        let order = |one: &&Package| {
            let seen = one.last_seen_by().is_some();
            (seen, seen && one.returned_to != ReturnedTo::Anyone, one.facts.not_after)
        };
        if let Some(one) = one_time.min_by_key(order) {
            let facts = one.facts;
            let returned_to = self.policy.returned_packages.after(&request.caller);
            return Ensured::Granted(self.take(facts, hold, returned_to));
        }
        // The contract leaves open which of several suites' goes first: the newest does, and then the least ref.
        let last_resort = lasting().filter(|one| one.current_last_resort(now));
        let newest = |one: &&Package| (one.uploaded_at, Reverse(one.facts.reference.clone()));
        if let Some(one) = last_resort.max_by_key(newest) {
            let facts = one.facts;
            return Ensured::Granted(self.share(facts, &hold, request));
        }
        let mut suites = self.books.keys().filter(|(of, _)| of == owner).map(|(_, suite)| *suite);
        let asked_for_more = lasting_beyond > now + floor;
        let too_short = candidates()
            .filter(|one| one.available(now))
            .any(|one| !one.facts.last_resort || one.current_last_resort(now));
        Ensured::Missing(if !suites.any(suits) || (asked_for_more && too_short) {
            MissingReason::NoCompatiblePackage
        } else {
            MissingReason::PoolExhausted
        })
    }

    /// Whether the reservation held a package of the device for as long as it may, which nobody else has taken since.
    fn held_too_long(&self, owner: &Owner, own: &Hold) -> bool {
        self.of(owner).filter(|one| one.stands(self.now)).filter_map(Package::hold).any(|hold| {
            own.is_of(&hold.reservation, &hold.holder) && hold.is_over(self.now, &self.policy)
        })
    }

    /// Whether the holder uses the reservation for another group on this device: by what it holds there, or by what the log says.
    fn is_of_other_group(&self, owner: &Owner, hold: &Hold) -> bool {
        let held = self.of(owner).filter(|one| one.stands(self.now)).filter_map(Package::hold);
        let held = held.map(|one| (&one.reservation, &one.holder, &one.group));
        let logged = self.log.iter().filter(|entry| entry.owner == *owner);
        let logged = logged.map(|one| (&one.reservation, &one.holder, &one.group));
        held.chain(logged).any(|(reservation, holder, group)| {
            hold.is_of(reservation, holder) && *group != hold.group
        })
    }

    /// What the reservation has of a device from before, with the ends of the holds; those that are spent have none.
    fn had(&self, owner: &Owner, own: &Hold) -> Vec<(&'static Facts, Option<Timestamp>)> {
        let now = self.now;
        let held = self.of(owner).filter(|one| one.stands(now)).filter_map(|one| {
            let hold = one.hold().filter(|hold| own.is_of(&hold.reservation, &hold.holder))?;
            let is_over = hold.is_over(now, &self.policy);
            let hold = (!is_over).then_some(hold)?;
            Some((one.facts, Some(hold.until)))
        });
        let is_own =
            |entry: &&Entry| entry.owner == *owner && own.is_of(&entry.reservation, &entry.holder);
        let logged = self.log.iter().filter(is_own).filter_map(|entry| {
            let package = self.packages.get(&entry.reference)?;
            if entry.spent_at.is_some() {
                return Some((package.facts, None));
            }
            let held = entry.live(now) && package.stands(now) && !package.emptied;
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
        returned_to: ReturnedTo,
    ) -> Option<Vec<Grant>> {
        let grant = |facts: &Facts, held_until| Grant {
            reference: facts.reference.clone(),
            held_until,
            emptied: self.packages[&facts.reference].emptied,
        };
        if had.iter().any(|(_, until)| until.is_none()) {
            let spent = had.iter().filter(|(_, until)| until.is_none());
            return Some(spent.map(|(facts, _)| grant(facts, None)).collect());
        }
        let longest = had.into_iter().max_by_key(|(facts, until)| (*until, !facts.last_resort));
        let (facts, until) = longest?;
        if self.packages[&facts.reference].kept_back {
            return None;
        }
        let package = self.packages.get_mut(&facts.reference).unwrap();
        if !facts.last_resort {
            package.returned_to = package.returned_to.max(returned_to);
        }
        Some(match until {
            Some(until) if until > self.now => vec![Grant::held(facts, until)],
            _ => vec![self.hold_again(facts, again.until)],
        })
    }

    fn hold_again(&mut self, facts: &Facts, until: Timestamp) -> Grant {
        let package = self.packages.get_mut(&facts.reference).unwrap();
        let State::Pooled(Some(hold)) = &mut package.state else { unreachable!("it is held") };
        hold.until = until.min(hold.taken_at + self.policy.max_total_hold);
        Grant::held(facts, hold.until)
    }

    fn live_holds(&self, owner: &Owner, by: &Hold) -> u32 {
        let held = self.of(owner).filter(|one| one.stands(self.now)).filter_map(Package::hold);
        let live = held.filter(|hold| hold.holder == by.holder && hold.until > self.now).count();
        u32::try_from(live).unwrap()
    }

    fn take(&mut self, facts: &'static Facts, hold: Hold, returned_to: ReturnedTo) -> Grant {
        let package = self.packages.get_mut(&facts.reference).unwrap();
        let before = package.hold().cloned();
        package.seen_by = package.last_seen_by().cloned();
        if package.returned_to == ReturnedTo::Anyone {
            package.returned_to = returned_to;
        }
        let grant = Grant::held(facts, hold.until);
        package.state = State::Pooled(Some(hold));
        if let Some(before) = before {
            self.log_lapse(&before, facts);
        }
        grant
    }

    fn share(&mut self, facts: &Facts, hold: &Hold, request: &ReserveRequest) -> Grant {
        let entry = self.log_hold(hold, facts, Some(&request.caller.principal));
        entry.released_at = None;
        entry.held_until = Some(hold.until);
        Grant::held(facts, hold.until)
    }

    fn give_back(&mut self, request: &ReserveRequest, granted: &[Granted]) {
        let now = self.now;
        let grants =
            granted.iter().flat_map(|one| one.any_of.iter().map(|grant| (grant, one.found)));
        for (grant, found) in grants {
            if grant.held_until.is_none() {
                continue;
            }
            let package = self.packages.get_mut(&grant.reference).unwrap();
            let facts = package.facts;
            let Some(hold) = package.hold().cloned() else {
                let is_own = |entry: &&mut Entry| {
                    let holder = &request.caller.holder;
                    entry.is_of(&request.reservation, holder, &grant.reference)
                };
                self.log.iter_mut().find(is_own).unwrap().released_at = Some(now);
                continue;
            };
            package.forget_hold();
            if found {
                package.seen_by = Some(hold.holder.clone());
                let entry = self.log_hold(&hold, facts, None);
                entry.released_at = Some(now);
                entry.principal = Some(request.caller.principal.clone());
            } else if package.seen_by.as_ref() != Some(&hold.holder) {
                // Nobody was told of the hold.
                package.returned_to = ReturnedTo::Anyone;
            }
        }
    }
}

fn suits(request: &ReserveRequest, suite: CipherSuite) -> bool {
    request.cipher_suites.is_empty() || request.cipher_suites.contains(&suite)
}
