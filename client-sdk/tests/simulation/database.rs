//! The pool that all replicas share, and what its watcher knows of every call: when it came, what
//! it did, what the caller was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use keypool_service::pool::Policy;
use keypool_service::testing::model::{Entry, Model};
use keypool_service::types::{KeyPackageRef, ReservationId};

use crate::simulation::Scenario;
use crate::stock::{self, START};

/// What a replica's link to the database is like.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) up: bool,
    /// The longest that a statement takes to get there, or back.
    pub(crate) slow: Duration,
    /// How many of a hundred statements take effect, and their answers are lost.
    pub(crate) loses: u8,
    /// How many of a hundred calls are refused, because too many wait or come too often.
    pub(crate) refuses: u8,
    /// Which life of the replica this is: what an earlier one left undone stays undone.
    pub(crate) life: u64,
}

impl Link {
    const CALM: Self =
        Self { up: true, slow: Duration::from_millis(30), loses: 0, refuses: 0, life: 0 };

    /// As it was at first.
    pub(crate) fn calm_down(&mut self) {
        *self = Self { life: self.life, ..Self::CALM };
    }
}

/// One pool in memory. All clones share it.
#[derive(Clone)]
pub(crate) struct Database(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) model: Model,
    pub(crate) random: fastrand::Rng,
    pub(crate) links: Vec<Link>,
    /// How often each reservation was asked for.
    pub(crate) asked: BTreeMap<ReservationId, u64>,
    pub(crate) told: Told,
    /// Since the run began.
    elapsed: Duration,
    pub(crate) healed: bool,
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    names: BTreeMap<String, usize>,
    /// How many callers are still at work.
    busy: usize,
}

/// What is known of the calls, and what callers were told.
#[derive(Default)]
pub(crate) struct Told {
    /// The reservation of each group: every invite has a group of its own.
    reservations: BTreeMap<String, ReservationId>,
    groups: BTreeMap<ReservationId, String>,
    calls: BTreeMap<String, Call>,
    /// What callers were told to hold, until when.
    held: BTreeMap<(ReservationId, KeyPackageRef), Timestamp>,
    spent: BTreeMap<KeyPackageRef, ReservationId>,
    /// Reservations of which a call was answered, or done without the replica's knowing.
    pub(crate) answered: BTreeSet<ReservationId>,
    /// Groups whose caller left, and when what they hold must have been given back.
    left: Vec<(String, Duration)>,
    pub(crate) done: u32,
    pub(crate) failed: u32,
    pub(crate) tries: u32,
}

/// The latest call about an invite.
struct Call {
    began: Duration,
    ends: Duration,
    /// The service asked for patience until then.
    not_before: Option<Duration>,
    /// The service said what no repeat would change.
    settled: bool,
}

/// How the service answered a try, as far as it matters to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Settled,
    Wait(Duration),
    Unsure,
}

impl Database {
    pub(crate) fn new(seed: u64, replicas: usize, policy: Policy) -> Self {
        Self(Arc::new(Mutex::new(State {
            model: Model::new(START, policy),
            random: fastrand::Rng::with_seed(seed),
            links: vec![Link::CALM; replicas],
            asked: BTreeMap::new(),
            told: Told::default(),
            elapsed: Duration::ZERO,
            healed: false,
            violations: Vec::new(),
            trace: Vec::new(),
            names: BTreeMap::new(),
            busy: 0,
        })))
    }

    /// The pool as it is now.
    pub(crate) fn now(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap();
        if let Some(elapsed) = turmoil::sim_elapsed() {
            state.pass(elapsed);
        }
        state
    }
}

impl State {
    /// Time goes on. Hosts are at most a tick apart.
    pub(crate) fn pass(&mut self, elapsed: Duration) {
        self.elapsed = self.elapsed.max(elapsed);
        self.model.now = START + self.elapsed;
    }

    /// So many callers will be [`quiet`](Self::quiet) in the end.
    pub(crate) fn expects(&mut self, callers: usize) {
        self.busy = callers;
    }

    /// A caller changes nothing any more.
    pub(crate) fn quiet(&mut self) {
        self.busy -= 1;
    }

    pub(crate) fn all_quiet(&self) -> bool {
        self.busy == 0
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Ids are random; in the trace they are numbered as they appear.
    pub(crate) fn number(&mut self, id: &str) -> usize {
        let next = self.names.len();
        *self.names.entry(id.to_owned()).or_insert(next)
    }

    pub(crate) fn note(&mut self, what: impl AsRef<str>) {
        self.trace.push(format!("{:>9.3} {}", self.elapsed.as_secs_f64(), what.as_ref()));
    }

    pub(crate) fn violated(&mut self, what: impl AsRef<str>) {
        self.note(format!("VIOLATION {}", what.as_ref()));
        self.violations.push(what.as_ref().to_owned());
    }

    /// A try reached the pool.
    pub(crate) fn arrived(
        &mut self,
        method: &str,
        replica: usize,
        reservation: &ReservationId,
        group: Option<&str>,
        scenario: Scenario,
    ) {
        self.told.tries += 1;
        let number = self.number(reservation.as_str());
        self.note(format!("replica-{replica} {method} {number}"));
        if let Some(group) = group {
            let first = self.told.reservations.entry(group.to_owned());
            let first = first.or_insert_with(|| reservation.clone()).clone();
            self.told.groups.insert(reservation.clone(), group.to_owned());
            if first != *reservation {
                self.violated(format!("{group} has another reservation id in a later try"));
            }
        }
        let Some(call) = self.told.groups.get(reservation).and_then(|one| self.told.calls.get(one))
        else {
            return;
        };
        let (late, hasty, settled) = (
            self.elapsed > call.ends + SLACK,
            call.not_before.is_some_and(|from| self.elapsed < from),
            call.settled,
        );
        if late && scenario.is_timely() {
            self.violated(format!("{method} {number} was tried after its deadline"));
        }
        if hasty && scenario.is_heard() {
            self.violated(format!("{method} {number} did not wait as it was asked to"));
        }
        if settled && scenario.is_heard() {
            self.violated(format!("{method} {number} was repeated after an answer"));
        }
    }

    /// A try takes effect now.
    pub(crate) fn effect(&mut self, method: &str, reservation: &ReservationId, scenario: Scenario) {
        let call = self.told.groups.get(reservation).and_then(|one| self.told.calls.get(one));
        let late =
            scenario.is_timely() && call.is_some_and(|call| self.elapsed > call.ends + SLACK);
        let number = self.number(reservation.as_str());
        if late {
            self.violated(format!("{method} {number} took effect after its deadline"));
        }
    }

    /// What the service answers to a try that came at a time. A late answer may have no reader any
    /// more.
    pub(crate) fn answers(&mut self, reservation: &ReservationId, came: Duration, answer: Answer) {
        if self.elapsed > came + SHARE {
            return;
        }
        let Some(group) = self.told.groups.get(reservation) else { return };
        let Some(call) = self.told.calls.get_mut(group) else { return };
        // A try of the call before, that its caller left.
        if came < call.began + SLACK {
            return;
        }
        match answer {
            Answer::Settled => call.settled = true,
            Answer::Wait(delay) => call.not_before = Some(self.elapsed + delay),
            Answer::Unsure => {}
        }
    }

    /// A caller begins a call, which ends within its timeout.
    pub(crate) fn begins(&mut self, group: &str, timeout: Duration) {
        let ends = self.elapsed + timeout;
        let began = self.elapsed;
        let call = Call { began, ends, not_before: None, settled: false };
        self.told.calls.insert(group.to_owned(), call);
    }

    /// A caller was told that these are held.
    pub(crate) fn told_held(
        &mut self,
        reservation: &ReservationId,
        packages: impl Iterator<Item = (KeyPackageRef, Timestamp)>,
    ) {
        for (reference, until) in packages {
            if !stock::with_ref(&reference).last_resort {
                self.told.held.insert((reservation.clone(), reference), until);
            }
        }
        self.check_held();
    }

    /// The caller of a reserve left it, for good.
    pub(crate) fn leaves(&mut self, group: &str) {
        self.told.left.push((group.to_owned(), self.elapsed + GIVEN_BACK_WITHIN));
    }

    /// What a caller did not wait for is given back, if its call was the only one, and nobody
    /// answered it.
    fn check_left(&mut self) {
        let now = self.elapsed;
        let due = self.told.left.extract_if(.., |(_, at)| *at <= now).collect::<Vec<_>>();
        for (group, _) in due {
            let Some(reservation) = self.told.reservations.get(&group) else { continue };
            let asked_once = self.asked.get(reservation) == Some(&1);
            let answered = self.told.answered.contains(reservation);
            if asked_once && !answered && !self.held_by(reservation).is_empty() {
                self.violated(format!("{group} was left by its caller, and is held"));
            }
        }
    }

    /// The caller is about to use it up or give it back.
    pub(crate) fn lets_go(&mut self, reservation: &ReservationId) {
        self.told.held.retain(|(of, _), _| of != reservation);
    }

    /// A caller was told that these are spent.
    pub(crate) fn told_spent(&mut self, reservation: &ReservationId, refs: &[KeyPackageRef]) {
        for reference in refs {
            let entry =
                self.model.log.iter().find(|entry| {
                    entry.reference == *reference && entry.reservation == *reservation
                });
            let logged = entry.is_some_and(|entry| entry.spent_at.is_some());
            let number = self.number(reservation.as_str());
            if !logged {
                self.violated(format!("{number} was told that {reference} is spent: it is not"));
            }
            if stock::with_ref(reference).last_resort {
                continue;
            }
            let first = self.told.spent.entry(reference.clone());
            if *first.or_insert_with(|| reservation.clone()) != *reservation {
                self.violated(format!("{reference} was spent twice"));
            }
        }
    }

    /// A caller was told that these are not spent by its reservation.
    pub(crate) fn told_unspent(&mut self, reservation: &ReservationId, refs: &[KeyPackageRef]) {
        for reference in refs {
            let spent = self.model.log.iter().any(|entry| {
                entry.reference == *reference
                    && entry.reservation == *reservation
                    && entry.spent_at.is_some()
            });
            if spent {
                let number = self.number(reservation.as_str());
                self.violated(format!("{number} was told that {reference} is not spent: it is"));
            }
        }
    }

    /// What a group's reservation, if it has one, holds of one-time packages.
    pub(crate) fn held_of(&self, group: &str) -> Vec<KeyPackageRef> {
        let Some(reservation) = self.told.reservations.get(group) else { return Vec::new() };
        self.held_by(reservation)
    }

    /// What a reservation holds of one-time packages.
    pub(crate) fn held_by(&self, reservation: &ReservationId) -> Vec<KeyPackageRef> {
        let held = |reference: &&KeyPackageRef| {
            self.model.live_hold(reference).is_some_and(|(of, _)| of == reservation)
        };
        stock::all().iter().map(|one| &one.reference).filter(held).cloned().collect()
    }

    /// After each step.
    pub(crate) fn check(&mut self) {
        self.check_held();
        self.check_left();
    }

    /// What callers were told to hold they hold.
    fn check_held(&mut self) {
        let now = self.model.now;
        self.told.held.retain(|_, until| *until > now);
        let lost = |((of, reference), until): (&(ReservationId, KeyPackageRef), &Timestamp)| {
            let hold = self.model.live_hold(reference);
            let held = hold.is_some_and(|(holder, end)| holder == of && end >= *until);
            (!held).then(|| (of.clone(), reference.clone()))
        };
        let lost: BTreeSet<_> = self.told.held.iter().filter_map(lost).collect();
        for (of, reference) in lost {
            let number = self.number(of.as_str());
            self.violated(format!("{number} was told that it holds {reference}: it does not"));
            self.told.held.remove(&(of, reference));
        }
    }

    /// At the end: the books balance, and nothing is spent twice.
    pub(crate) fn check_books(&mut self) {
        let users: BTreeSet<_> = stock::owners().into_iter().map(|owner| owner.user).collect();
        let statuses = users.iter().flat_map(|user| self.model.status(user, None));
        let unbalanced = statuses.filter(|status| !status.is_balanced()).count();
        if unbalanced > 0 {
            self.violated("the books don't balance");
        }
        let mut seen = BTreeSet::new();
        let one_time: Vec<_> = {
            let spent = |one: &&Entry| !one.last_resort && one.spent_at.is_some();
            self.model.log.iter().filter(spent).collect()
        };
        let twice = one_time.iter().any(|entry| !seen.insert(&entry.reference));
        if twice {
            self.violated("the log has a package twice");
        }
    }
}

/// A try gets a second, or what is left of the call's time. An answer takes a moment.
const SHARE: Duration = Duration::from_millis(900);

/// How long it takes to notice that a caller left, and to give back what it has, if the network
/// tells it.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(1);

/// How late a try may come that was sent in time: the network's latency, and a tick of the
/// simulation on either side.
const SLACK: Duration = Duration::from_millis(60);
