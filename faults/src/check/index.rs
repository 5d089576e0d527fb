//! A history, put in order: what happened to each package, and under each reservation.

use super::{calm::Calm, restores::Restores};
use crate::history::{
    Action, Answer, Call, Device, Handed, History, Micros, Outcome, Package, Record, Reservation,
    Reserve, Uploaded,
};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// Later than everything.
const NEVER: Micros = Micros(i64::MAX);

/// A hold that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) reservation: Reservation,
    /// When the call was made, and when it was answered.
    pub(super) invoked: Micros,
    pub(super) replied: Micros,
    /// Until when, by the clock of the service.
    pub(super) end: Micros,
}

/// A try to spend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spending {
    pub(super) reservation: Reservation,
    pub(super) invoked: Micros,
    pub(super) replied: Micros,
    /// What is known of it: done, not done, or neither.
    pub(super) done: Option<bool>,
    /// Whether it had one try only.
    pub(super) calm: bool,
}

/// Something that takes a package out of circulation, or may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Revocation {
    pub(super) invoked: Micros,
    /// When it was acknowledged; none if nobody knows whether it hit the package.
    pub(super) done: Option<Micros>,
    /// When who asked for it had given up, or was answered; never, if the package was named.
    pub(super) given_up: Micros,
}

/// What happened to a package.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// What is known of it, from its first upload.
    pub(super) uploaded: Option<(Device, Uploaded)>,
    /// When uploads of it were made and when they were acknowledged, if they were.
    pub(super) uploads: Vec<(Micros, Option<Micros>)>,
    /// From when until when its device may have vouched for it, by an upload or a reconciliation.
    pub(super) named: Vec<(Micros, Micros)>,
    pub(super) holds: Vec<Held>,
    /// When reservations first asked to end their hold.
    pub(super) ended: HashMap<Reservation, Micros>,
    pub(super) spendings: Vec<Spending>,
    pub(super) revocations: Vec<Revocation>,
}

impl Story {
    /// When it was first known to be spent, and by whom.
    pub(super) fn spent(&self) -> Option<&Spending> {
        let done = self.spendings.iter().filter(|spending| spending.done == Some(true));
        done.min_by_key(|spending| spending.replied)
    }

    /// When a reservation may have let go of it.
    pub(super) fn ended_by(&self, reservation: Reservation) -> Micros {
        self.ended.get(&reservation).copied().unwrap_or(NEVER)
    }

    /// Whether something may have taken it out of circulation before this.
    pub(super) fn may_be_revoked_before(&self, moment: Micros) -> bool {
        self.revocations.iter().any(|revocation| revocation.invoked <= moment)
    }
}

/// A call to reserve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) record: &'a Record,
    pub(super) reserve: &'a Reserve,
    /// From when on it can have no effect any more.
    pub(super) settled: Micros,
    pub(super) calm: bool,
}

impl Asked<'_> {
    /// What it brought, if that is known.
    pub(super) fn handed(&self) -> Option<&[Handed]> {
        match self.record.outcome.answer() {
            Some(Answer::Reserved(handed, _)) => Some(handed),
            _ => None,
        }
    }
}

/// A history, put in order.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pub(super) history: &'a History,
    pub(super) calm: Calm,
    pub(super) restores: Restores,
    pub(super) packages: HashMap<Package, Story>,
    /// The reserves of each reservation, in the order in which they were made.
    pub(super) asked: HashMap<Reservation, Vec<Asked<'a>>>,
    /// The longest that a reservation extended its holds by.
    pub(super) extended: HashMap<Reservation, (Micros, Duration)>,
    /// The packages of each device.
    pub(super) devices: HashMap<Device, Vec<Package>>,
}

impl<'a> Index<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let mut index = Self {
            history,
            calm: Calm::of(&history.faults),
            restores: Restores::of(&history.faults),
            packages: HashMap::new(),
            asked: HashMap::new(),
            extended: HashMap::new(),
            devices: HashMap::new(),
        };
        for record in &history.records {
            index.upload(record);
        }
        for record in &history.records {
            index.reserve(record);
            index.hold(record);
            index.revoke(record);
        }
        for asked in index.asked.values_mut() {
            asked.sort_by_key(|asked| asked.record.invoked);
        }
        index.end_by_give_back();
        index
    }

    /// The story of a package.
    pub(super) fn story(&self, package: Package) -> Option<&Story> {
        self.packages.get(&package)
    }

    fn upload(&mut self, record: &Record) {
        let Call::Upload(upload) = &record.call else { return };
        let settled = self.calm.settled_elsewhere(record);
        let of_device = self.devices.entry(upload.device).or_default();
        let results = match &record.outcome {
            Outcome::Ok(Answer::Uploaded(results)) => Some(results),
            _ => None,
        };
        for (place, uploaded) in upload.packages.iter().enumerate() {
            let story = self.packages.entry(uploaded.package).or_default();
            // Uploaded again, only its bytes are known.
            if uploaded.suite != 0 && story.uploaded.replace((upload.device, *uploaded)).is_none() {
                of_device.push(uploaded.package);
            }
            let result = results.and_then(|results| results.get(place));
            let accepted = result.is_some_and(Option::is_none).then_some(record.replied);
            story.uploads.push((record.invoked, accepted));
            story.named.push((record.invoked, settled));
        }
    }

    fn reserve(&mut self, record: &'a Record) {
        let Call::Reserve(reserve) = &record.call else { return };
        let (settled, calm) = (self.calm.settled(record), self.calm.is_calm(record));
        let asked = Asked { record, reserve, settled, calm };
        self.asked.entry(reserve.reservation).or_default().push(asked);
        for handed in asked.handed().unwrap_or_default() {
            let Some(end) = handed.until.filter(|_| !handed.last_resort) else { continue };
            self.packages.entry(handed.package).or_default().holds.push(Held {
                reservation: reserve.reservation,
                invoked: record.invoked,
                replied: record.replied,
                end,
            });
        }
    }

    fn hold(&mut self, record: &Record) {
        let Call::Hold(hold) = &record.call else { return };
        let (results, until) = match record.outcome.answer() {
            Some(Answer::Held(results, until)) => (Some(results), *until),
            _ => (None, None),
        };
        let calm = self.calm.is_calm(record);
        if let Action::Extend(ttl) = hold.action {
            let settled = self.calm.settled(record);
            let longest = self.extended.entry(hold.reservation).or_default();
            *longest = (longest.0.max(settled), longest.1.max(ttl));
        }
        for (place, (_, package)) in hold.packages.iter().enumerate() {
            let story = self.packages.entry(*package).or_default();
            let done = results.map(|results| results.get(place).is_some_and(Option::is_none));
            match hold.action {
                Action::Spend => story.spendings.push(Spending {
                    reservation: hold.reservation,
                    invoked: record.invoked,
                    replied: record.replied,
                    done,
                    calm,
                }),
                Action::Release | Action::SetAside => {
                    let ended = story.ended.entry(hold.reservation).or_insert(record.invoked);
                    *ended = (*ended).min(record.invoked);
                    if hold.action == Action::SetAside {
                        // That it is done says no more than that the reservation does not hold it.
                        let (invoked, given_up) = (record.invoked, NEVER);
                        story.revocations.push(Revocation { invoked, done: None, given_up });
                    }
                }
                Action::Extend(_) => {
                    let is_last_resort =
                        story.uploaded.is_some_and(|(_, uploaded)| uploaded.last_resort);
                    if let (Some(true), Some(end), false) = (done, until, is_last_resort) {
                        story.holds.push(Held {
                            reservation: hold.reservation,
                            invoked: record.invoked,
                            replied: record.replied,
                            end,
                        });
                    }
                }
            }
        }
    }

    fn revoke(&mut self, record: &Record) {
        let (device, hits): (_, Box<dyn Fn(Package) -> Option<bool>>) = match &record.call {
            Call::Revoke(device, Some(packages)) => {
                let named: HashSet<Package> = packages.iter().copied().collect();
                (*device, Box::new(move |package| named.contains(&package).then_some(true)))
            }
            Call::Revoke(device, None) => (*device, Box::new(|_| Some(true))),
            Call::Reconcile(device, kept) => {
                let kept: HashSet<Package> = kept.iter().copied().collect();
                let revoked: HashSet<Package> = match record.outcome.answer() {
                    Some(Answer::Revoked(revoked)) => revoked.iter().copied().collect(),
                    _ => HashSet::new(),
                };
                let hits =
                    move |package| (!kept.contains(&package)).then(|| revoked.contains(&package));
                (*device, Box::new(hits))
            }
            _ => return,
        };
        let given_up = match &record.call {
            Call::Revoke(_, Some(_)) => NEVER,
            _ => self.calm.given_up(record),
        };
        for package in self.devices.get(&device).into_iter().flatten() {
            let Some(story) = self.packages.get_mut(package) else { continue };
            let Some(surely) = hits(*package) else { continue };
            // What comes later is not hit, and what may come later may not be.
            let was_there = self.restores.surely_has(story, record.invoked, record.replied);
            let done = surely && was_there && record.outcome.is_ok();
            let done = done.then_some(record.replied);
            story.revocations.push(Revocation { invoked: record.invoked, done, given_up });
        }
        if let Call::Reconcile(_, kept) = &record.call {
            let settled = self.calm.settled_elsewhere(record);
            for package in kept {
                let story = self.packages.entry(*package).or_default();
                story.named.push((record.invoked, settled));
            }
        }
    }

    /// A reserve of all or nothing gives back what its reservation had, too, if something is missing.
    fn end_by_give_back(&mut self) {
        for asked in self.asked.values() {
            for later in asked.iter().skip(1) {
                if !later.reserve.require_all || later.record.outcome.is_ok() && later.calm {
                    continue;
                }
                for earlier in asked.iter().filter_map(Asked::handed).flatten() {
                    if let Some(story) = self.packages.get_mut(&earlier.package) {
                        let reservation = later.reserve.reservation;
                        let invoked = later.record.invoked;
                        let ended = story.ended.entry(reservation).or_insert(invoked);
                        *ended = (*ended).min(invoked);
                    }
                }
            }
        }
    }
}
