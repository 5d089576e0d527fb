//! Callers that reserve packages, and do with them what inviters do.

use std::time::Duration;

use jiff::Timestamp;
use keypool_client::{Client, Error, Reservation, ReservedPackage, Target};
use keypool_service::types::{KeyPackageRef, ReservationId};
use tokio::time::{Instant, sleep, timeout};

use crate::database::Database;
use crate::simulation::{Scenario, TICK, TIMEOUT, client};
use crate::stock::{self, SUITE};

pub(crate) fn name(number: usize) -> String {
    format!("inviter-{number}")
}

/// How long a dropped reservation may take to be released when all is well: a call's time, as some
/// connections may be dead.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);

/// Invites until all is healed, and a few times more.
pub(crate) async fn run(
    number: usize,
    database: Database,
    scenario: Scenario,
    mut random: fastrand::Rng,
) -> turmoil::Result {
    let client = client(&mut random).on_behalf_of(name(number)).connect_lazy()?;
    let mut inviter = Inviter { number, invites: 0, client, database, scenario, random };
    while !inviter.database.now().healed {
        inviter.invite().await;
        inviter.think(400).await;
    }
    inviter.recover(scenario.recovers_within()).await;
    inviter.drop_is_release().await;
    inviter.database.now().quiet();
    Ok(())
}

struct Inviter {
    number: usize,
    invites: u32,
    client: Client,
    database: Database,
    scenario: Scenario,
    random: fastrand::Rng,
}

/// What an invite is to be.
#[derive(Debug, Clone)]
struct Plan {
    group: String,
    targets: Vec<Target>,
    require_all: bool,
    ttl: Duration,
}

impl Inviter {
    async fn think(&mut self, most: u64) {
        sleep(Duration::from_millis(self.random.u64(0..most))).await;
    }

    fn plan(&mut self) -> Plan {
        self.invites += 1;
        let owners = stock::owners();
        let mut targets = vec![Target::user(owners[0].user.as_str())];
        let one = &owners[self.random.usize(..owners.len())];
        match self.random.u8(..4) {
            0 => targets.push(Target::device(owners[2].user.as_str(), owners[2].device.as_str())),
            1 => {}
            _ => targets = vec![Target::device(one.user.as_str(), one.device.as_str())],
        }
        Plan {
            group: format!("{}/{}", name(self.number), self.invites),
            targets,
            require_all: self.random.bool(),
            ttl: Duration::from_millis(self.random.u64(1000..15_000)),
        }
    }

    async fn invite(&mut self) {
        let plan = self.plan();
        match self.random.u8(..8) {
            0 => drop(self.reserve(&plan, None).await),
            1 => self.reserve_and_release(&plan).await,
            2 | 3 => self.reserve_and_leave(&plan).await,
            4 => self.reserve_again(&plan).await,
            5 => self.reserve_and_extend(&plan).await,
            _ => self.reserve_and_spend(&plan).await,
        }
    }

    async fn reserve_and_spend(&mut self, plan: &Plan) {
        let Ok(mut reservation) = self.reserve(plan, None).await else { return };
        self.think(3000).await;
        if self.spend(&plan.group, &mut reservation).await.is_ok() && self.random.bool() {
            // Told once that it is spent, it is told so for ever.
            if let Err(error) = self.spend(&plan.group, &mut reservation).await
                && !is_unsure(&error)
            {
                self.violated(format!("{} was spent, and then not: {error}", plan.group));
            }
        }
    }

    async fn reserve_and_release(&mut self, plan: &Plan) {
        let Ok(reservation) = self.reserve(plan, None).await else { return };
        self.think(1000).await;
        let id = id(&reservation);
        self.database.now().lets_go(&id);
        let released = self.call(&plan.group, "release", Box::pin(reservation.release())).await;
        let held = self.database.now().held_by(&id);
        if released.is_ok() && !held.is_empty() {
            self.violated(format!("{} is released, and holds {held:?}", plan.group));
        }
    }

    /// The application gives up on a call, and may make it again.
    async fn reserve_and_leave(&mut self, plan: &Plan) {
        let id = format!("id of {}", plan.group);
        let most = if self.random.bool() { 80 } else { 800 };
        let patience = Duration::from_millis(self.random.u64(1..most));
        let left = timeout(patience, self.reserve(plan, Some(&id))).await;
        let before = match left {
            Ok(Ok(reservation)) => Some(names(reservation.packages())),
            Ok(Err(_)) | Err(_) => None,
        };
        if before.is_some() || self.random.bool() {
            if self.scenario.is_heard() {
                self.database.now().leaves(&plan.group);
            }
            return;
        }
        if let Ok(mut reservation) = self.reserve(plan, Some(&id)).await {
            self.spend(&plan.group, &mut reservation).await.ok();
        }
    }

    /// Word for word again: the same packages.
    async fn reserve_again(&mut self, plan: &Plan) {
        let Ok(first) = self.reserve(plan, None).await else { return };
        let until = first.packages().iter().filter_map(|one| one.hold_expires).min();
        let first_names = names(first.packages());
        let id = first.keep();
        self.think(500).await;
        let Ok(mut again) = self.reserve(plan, Some(&id)).await else { return };
        let now = self.database.now().model.now;
        let lasted = until.is_some_and(|end| Timestamp::try_from(end).unwrap() > now);
        let one_time = |names: &[KeyPackageRef]| -> Vec<KeyPackageRef> {
            let of = names.iter().filter(|one| !stock::with_ref(one).last_resort);
            of.cloned().collect()
        };
        let kept = one_time(&first_names);
        let has = one_time(&names(again.packages()));
        if lasted && kept.iter().any(|one| !has.contains(one)) {
            self.violated(format!("{} had {kept:?}, and then {has:?}", plan.group));
        }
        self.spend(&plan.group, &mut again).await.ok();
    }

    async fn reserve_and_extend(&mut self, plan: &Plan) {
        let Ok(mut reservation) = self.reserve(plan, None).await else { return };
        self.think(800).await;
        let ttl = Duration::from_millis(self.random.u64(1000..20_000));
        let extended = self.call(&plan.group, "extend", Box::pin(reservation.extend(ttl))).await;
        if extended.is_ok() {
            self.told_held(&reservation);
        }
        self.think(2000).await;
        self.spend(&plan.group, &mut reservation).await.ok();
    }

    /// Reserves, and sees that what the caller is told is so.
    async fn reserve(&mut self, plan: &Plan, id: Option<&str>) -> Result<Watched, Error> {
        let mut builder = self.client.reserve(&plan.group).cipher_suite(SUITE).ttl(plan.ttl);
        builder = builder.targets(plan.targets.clone());
        if plan.require_all {
            builder = builder.require_all();
        }
        if let Some(id) = id {
            builder = builder.reservation_id(id);
        }
        let reserved = self.call(&plan.group, "reserve", Box::pin(builder.send())).await;
        match reserved {
            Ok(reservation) => {
                let reservation =
                    Watched { reservation: Some(reservation), database: self.database.clone() };
                self.told_held(&reservation);
                Ok(reservation)
            }
            Err(error) => {
                let held = self.database.now().held_of(&plan.group);
                if !error.missing().is_empty() && !held.is_empty() {
                    self.violated(format!("{} got nothing, and holds {held:?}", plan.group));
                }
                Err(error)
            }
        }
    }

    fn told_held(&self, reservation: &Reservation) {
        let held = reservation.packages().iter().filter(|one| !one.spent).filter_map(|one| {
            Some((reference(one), Timestamp::try_from(one.hold_expires?).unwrap()))
        });
        self.database.now().told_held(&id(reservation), held);
    }

    async fn spend(&mut self, group: &str, reservation: &mut Reservation) -> Result<(), Error> {
        let id = id(reservation);
        self.database.now().lets_go(&id);
        let packages = names(reservation.packages());
        let spent = self.call(group, "spend", Box::pin(reservation.spend())).await;
        let mut state = self.database.now();
        match &spent {
            Ok(()) => state.told_spent(&id, &packages),
            Err(error) => {
                let of = |spent: bool| -> Vec<KeyPackageRef> {
                    let outcomes = error.outcomes().iter();
                    let outcomes = outcomes.filter(|one| one.reason.is_none() == spent);
                    outcomes.map(|one| to_ref(&one.name.key_package_ref)).collect()
                };
                state.told_spent(&id, &of(true));
                state.told_unspent(&id, &of(false));
            }
        }
        spent
    }

    /// Makes a call, which must end in time.
    async fn call<T>(
        &self,
        group: &str,
        what: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        {
            let mut state = self.database.now();
            state.begins(group, TIMEOUT);
            state.note(format!("{group} begins to {what}"));
        }
        let start = Instant::now();
        let answer = call.await;
        let mut state = self.database.now();
        let outcome = match &answer {
            Ok(_) => "ok".to_owned(),
            Err(error) => format!("{:?} {:?}", error.reason(), error.failure().map(|one| one.code)),
        };
        state.note(format!("{group} to {what}: {outcome}"));
        if start.elapsed() > TIMEOUT + TICK {
            state.violated(format!("{group} to {what} took {:?}", start.elapsed()));
        }
        if let Err(error) = &answer
            && (error.is_retryable() && error.reason().is_some() && error.retry_after().is_none())
        {
            state.violated(format!("{group} to {what}: {error}, and not when to try again"));
        }
        match &answer {
            Ok(_) => state.told.done += 1,
            Err(_) => state.told.failed += 1,
        }
        answer
    }

    /// All is well again: calls succeed before long.
    async fn recover(&mut self, bound: Duration) {
        let start = Instant::now();
        loop {
            let plan = self.plan();
            match self.reserve(&plan, None).await {
                Ok(mut reservation) => match self.spend(&plan.group, &mut reservation).await {
                    Ok(()) => break,
                    Err(error) if is_unsure(&error) => {}
                    Err(error) => {
                        return self.violated(format!("a spend when all is well: {error}"));
                    }
                },
                Err(error) if is_unsure(&error) => {}
                Err(error) if !error.missing().is_empty() => break,
                Err(error) => return self.violated(format!("a reserve when all is well: {error}")),
            }
            if start.elapsed() > bound {
                return self.violated(format!("no call succeeds {bound:?} after all is healed"));
            }
        }
        let mut state = self.database.now();
        state.note(format!("{} has recovered after {:?}", name(self.number), start.elapsed()));
    }

    async fn drop_is_release(&mut self) {
        let plan = Plan { ttl: Duration::from_secs(600), ..self.plan() };
        let Ok(reservation) = self.reserve(&plan, None).await else { return };
        drop(reservation);
        let start = Instant::now();
        while !self.database.now().held_of(&plan.group).is_empty() {
            if start.elapsed() > RELEASED_WITHIN {
                return self.violated(format!("{} was dropped and is held", plan.group));
            }
            sleep(TICK).await;
        }
    }

    fn violated(&self, what: String) {
        self.database.now().violated(what);
    }
}

/// A reservation of which the database is told when it is dropped.
struct Watched {
    reservation: Option<Reservation>,
    database: Database,
}

impl Watched {
    fn into_inner(mut self) -> Reservation {
        self.reservation.take().unwrap()
    }

    fn keep(self) -> String {
        self.into_inner().keep()
    }

    async fn release(self) -> Result<(), Error> {
        self.into_inner().release().await
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(reservation) = &self.reservation else { return };
        let mut state = self.database.now();
        state.lets_go(&id(reservation));
        let group = String::from_utf8_lossy(reservation.group_id()).into_owned();
        state.begins(&group, TIMEOUT);
    }
}

impl std::ops::Deref for Watched {
    type Target = Reservation;

    fn deref(&self) -> &Reservation {
        self.reservation.as_ref().unwrap()
    }
}

impl std::ops::DerefMut for Watched {
    fn deref_mut(&mut self) -> &mut Reservation {
        self.reservation.as_mut().unwrap()
    }
}

/// Whether a call may have had its effect all the same.
fn is_unsure(error: &Error) -> bool {
    error.is_retryable() || matches!(error, Error::DeadlineExceeded(_))
}

fn id(reservation: &Reservation) -> ReservationId {
    ReservationId::new(reservation.id()).unwrap()
}

fn to_ref(bytes: &[u8]) -> KeyPackageRef {
    KeyPackageRef::new(bytes).unwrap()
}

fn reference(package: &ReservedPackage) -> KeyPackageRef {
    to_ref(&package.name.key_package_ref)
}

fn names(packages: &[ReservedPackage]) -> Vec<KeyPackageRef> {
    packages.iter().map(reference).collect()
}
