//! What the pool promises, in memory: one file for each family of calls, as in the contract.
//!
//! Where the contract leaves a choice, an answer is a set of which any is right.

#![allow(clippy::unwrap_used)] // a model is for tests: it says more by failing

mod facts;
mod fence;
mod holds;
mod reserve;
mod revoke;
mod status;
mod sweep;
mod upload;

pub use facts::{Event, Facts, Owner};
pub use holds::Fate;
pub use reserve::{Grant, Granted, Reserved};
pub use revoke::Reconciled;
pub use status::Status;
pub use upload::Uploaded;

use crate::{
    pool::Policy,
    store::LogRow,
    types::{
        CipherSuite, DeviceId, GroupId, Holder, KeyPackageRef, ReservationId, ReturnedTo, UserId,
    },
};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Pools, in memory, at a moment.
pub struct Model {
    /// The moment.
    pub now: Timestamp,
    policy: Policy,
    /// When each device last uploaded.
    devices: BTreeMap<Owner, Timestamp>,
    books: BTreeMap<(Owner, CipherSuite), Books>,
    /// Whatever was accepted and is not purged.
    packages: BTreeMap<KeyPackageRef, Package>,
    /// The spend log, in the order of what happened.
    pub log: Vec<Entry>,
}

/// What can't be counted from packages.
#[derive(Default)]
struct Books {
    accepted: u64,
    purged: u64,
}

struct Package {
    facts: &'static Facts,
    uploaded_at: Timestamp,
    /// Of a last-resort package: when a newer one took its place.
    superseded_at: Option<Timestamp>,
    /// Whether its bytes are gone.
    emptied: bool,
    state: State,
    /// The last holder whose hold has ended, not counting one that lapsed and stands.
    seen_by: Option<Holder>,
    /// Who may be handed it again once it was seen.
    returned_to: ReturnedTo,
    /// Whether a fence quarantines it while it is free.
    kept_back: bool,
}

enum State {
    /// Not spent and not revoked; a one-time package with the hold on it, live or lapsed.
    Pooled(Option<Hold>),
    Spent,
    /// A one-time package with the hold that it had.
    Revoked {
        at: Timestamp,
        hold: Option<Hold>,
    },
}

#[derive(Clone)]
struct Hold {
    reservation: ReservationId,
    group: GroupId,
    holder: Holder,
    until: Timestamp,
    taken_at: Timestamp,
}

/// An entry of the spend log.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the names are those of the log's rows, which document them
pub struct Entry {
    pub owner: Owner,
    pub reference: KeyPackageRef,
    pub suite: CipherSuite,
    pub last_resort: bool,
    pub reservation: ReservationId,
    pub group: GroupId,
    pub holder: Holder,
    pub principal: Option<Holder>,
    pub logged_at: Timestamp,
    pub spent_at: Option<Timestamp>,
    pub released_at: Option<Timestamp>,
    pub lapsed_at: Option<Timestamp>,
    pub unusable_reason: Option<i16>,
    /// Of a last-resort package. The log does not tell it.
    held_until: Option<Timestamp>,
}

impl Model {
    /// The entry of a hold on a package: the one that there is, or a new one.
    fn log_hold(&mut self, hold: &Hold, facts: &Facts, principal: Option<&Holder>) -> &mut Entry {
        let is_it = |entry: &Entry| entry.is_of(&hold.reservation, &hold.holder, &facts.reference);
        let place = self.log.iter().position(is_it).unwrap_or_else(|| {
            let entry = hold.entry(facts, self.now);
            self.log.push(Entry { principal: principal.cloned(), ..entry });
            self.log.len() - 1
        });
        &mut self.log[place]
    }

    /// Notes that a hold has lapsed.
    fn log_lapse(&mut self, hold: &Hold, facts: &Facts) {
        let entry = self.log_hold(hold, facts, None);
        if entry.spent_at.is_none() {
            entry.lapsed_at = Some(hold.until);
        }
    }

    /// Empty pools under a policy.
    #[must_use]
    pub fn new(now: Timestamp, policy: Policy) -> Self {
        Self {
            now,
            policy,
            devices: BTreeMap::new(),
            books: BTreeMap::new(),
            packages: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    /// Whether a user, or a device of it, ever uploaded.
    #[must_use]
    pub fn knows(&self, user: &UserId, device: Option<&DeviceId>) -> bool {
        self.devices
            .keys()
            .any(|owner| owner.user == *user && device.is_none_or(|device| owner.device == *device))
    }

    /// What a device has uploaded, and is not purged.
    #[must_use]
    pub fn known_refs(&self, owner: &Owner) -> Vec<KeyPackageRef> {
        self.of(owner).map(|one| one.facts.reference.clone()).collect()
    }

    fn of<'a>(&'a self, owner: &'a Owner) -> impl Iterator<Item = &'a Package> {
        self.packages.values().filter(move |one| one.facts.owner == *owner)
    }

    /// Under whose live hold a one-time package is, and until when.
    #[must_use]
    pub fn live_hold(&self, reference: &KeyPackageRef) -> Option<(&ReservationId, Timestamp)> {
        let package = self.packages.get(reference).filter(|one| one.held(self.now))?;
        package.hold().map(|hold| (&hold.reservation, hold.until))
    }

    /// When something happens by itself, the next first.
    #[must_use]
    pub fn events(&self, event: Event) -> Vec<Timestamp> {
        let packages = self.packages.values().flat_map(|one| self.events_of(one, event));
        let holds = matches!(event, Event::HoldEnd | Event::Any);
        let logged = self.log.iter().filter(|_| holds).flat_map(|entry| {
            let forgotten = entry.logged_at + self.policy.spend_log_retention;
            [entry.held_until, matches!(event, Event::Any).then_some(forgotten)]
        });
        let times = packages.chain(logged.flatten()).filter(|at| *at > self.now);
        times.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn events_of(&self, package: &Package, event: Event) -> Vec<Timestamp> {
        let policy = &self.policy;
        let not_after = package.facts.not_after;
        match event {
            Event::HoldEnd => package.hold().map(|hold| hold.until).into_iter().collect(),
            Event::GraceEnd => match package.state {
                State::Revoked { at, .. }
                    if package.hold().is_some() || package.facts.last_resort =>
                {
                    vec![at + policy.revocation_grace]
                }
                _ => Vec::new(),
            },
            Event::Expiry => vec![not_after],
            Event::Oblivion => vec![not_after + policy.keep_expired],
            Event::Any => {
                let kinds = [Event::HoldEnd, Event::GraceEnd, Event::Expiry, Event::Oblivion];
                let mut all: Vec<_> =
                    kinds.into_iter().flat_map(|kind| self.events_of(package, kind)).collect();
                all.extend(package.hold().map(|hold| hold.taken_at + policy.max_total_hold));
                all.push(not_after - policy.expiring_soon);
                all.push(not_after - policy.validation.min_remaining);
                all
            }
        }
    }
}

impl Package {
    fn expired(&self, now: Timestamp) -> bool {
        self.facts.not_after <= now
    }

    fn revoked(&self) -> bool {
        matches!(self.state, State::Revoked { .. })
    }

    /// A one-time package's hold, live or lapsed, before it was spent.
    fn hold(&self) -> Option<&Hold> {
        match &self.state {
            State::Pooled(hold) | State::Revoked { hold, .. } => hold.as_ref(),
            State::Spent => None,
        }
    }

    /// In the pool and valid: available or reserved.
    fn stands(&self, now: Timestamp) -> bool {
        matches!(self.state, State::Pooled(_)) && !self.expired(now)
    }

    fn free(&self, now: Timestamp) -> bool {
        self.stands(now) && !self.held(now) && !self.kept_back
    }

    /// Anybody may be handed it.
    fn available(&self, now: Timestamp) -> bool {
        self.free(now) && self.returned_to == ReturnedTo::Anyone
    }

    /// Only its holder may be handed it, or nobody.
    fn returned(&self, now: Timestamp) -> bool {
        self.free(now) && self.returned_to != ReturnedTo::Anyone
    }

    /// The last holder that has seen it.
    fn last_seen_by(&self) -> Option<&Holder> {
        self.hold().map(|hold| &hold.holder).or(self.seen_by.as_ref())
    }

    /// In the pool, valid, and under a live hold.
    fn held(&self, now: Timestamp) -> bool {
        self.stands(now) && self.hold().is_some_and(|hold| hold.until > now)
    }

    fn current_last_resort(&self, now: Timestamp) -> bool {
        self.facts.last_resort && self.superseded_at.is_none() && self.stands(now)
    }
}

impl Hold {
    fn is_of(&self, reservation: &ReservationId, holder: &Holder) -> bool {
        self.reservation == *reservation && self.holder == *holder
    }

    /// It has lapsed and can't be held on.
    fn is_over(&self, now: Timestamp, policy: &Policy) -> bool {
        self.until <= now && self.taken_at + policy.max_total_hold <= now
    }

    fn entry(&self, facts: &Facts, now: Timestamp) -> Entry {
        Entry {
            owner: facts.owner.clone(),
            reference: facts.reference.clone(),
            suite: facts.suite,
            last_resort: facts.last_resort,
            reservation: self.reservation.clone(),
            group: self.group.clone(),
            holder: self.holder.clone(),
            principal: None,
            logged_at: now,
            spent_at: None,
            released_at: None,
            lapsed_at: None,
            unusable_reason: None,
            held_until: None,
        }
    }
}

impl Entry {
    fn is_of(
        &self,
        reservation: &ReservationId,
        holder: &Holder,
        reference: &KeyPackageRef,
    ) -> bool {
        self.reservation == *reservation && self.holder == *holder && self.reference == *reference
    }

    /// Whether it was given back, spent or over before a time.
    fn is_done_with(&self, before: Timestamp) -> bool {
        self.released_at.is_some() || self.spent_at.or(self.held_until).is_none_or(|at| at < before)
    }

    fn live(&self, now: Timestamp) -> bool {
        self.spent_at.is_none()
            && self.released_at.is_none()
            && self.held_until.is_some_and(|until| until > now)
    }
}

impl Entry {
    /// As the log tells it.
    #[must_use]
    pub fn as_logged(&self) -> Self {
        Self { held_until: None, ..self.clone() }
    }
}

impl From<LogRow> for Entry {
    fn from(row: LogRow) -> Self {
        Self {
            owner: Owner { user: row.user, device: row.device },
            reference: row.position.reference,
            suite: row.cipher_suite,
            last_resort: row.last_resort,
            reservation: row.position.reservation,
            group: row.group,
            holder: row.position.holder,
            principal: row.principal,
            logged_at: row.position.logged_at,
            spent_at: row.spent_at,
            released_at: row.released_at,
            lapsed_at: row.lapsed_at,
            unusable_reason: row.unusable_reason,
            held_until: None,
        }
    }
}
