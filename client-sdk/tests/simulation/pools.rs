//! How a replica reaches the pool: as by a lane, a call may wait, be refused, fail, or take effect
//! and its answer be lost.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keypool_service::grpc::{Pools, Statuses};
use keypool_service::limits::{Limit, Limited};
use keypool_service::pool::validation::RejectionReason;
use keypool_service::pool::{
    DeviceStatus, Extension, Health, HoldRequest, PackageFault, PoolError, ReconcileReport,
    Release, Reservation, ReserveReport, ReserveRequest, ReservedPackage, Selector, SpendRequest,
    UploadReport, UploadResult,
};
use keypool_service::store::{Reconciled, ReservedRow, StoreError};
use keypool_service::testing::model::{Fate, Granted, Owner, Reserved, Uploaded};
use keypool_service::types::{CipherSuite, DeviceId, KeyPackageRef, ReservationId, UserId};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::database::{Answer, Database, State};
use crate::simulation::Scenario;
use crate::stock;

/// How long a caller waits at most for a database that is away.
const SILENCE: Duration = Duration::from_secs(2);

/// How long a statement lasts at most, as by PostgreSQL's `statement_timeout`.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(6);

/// How long a caller that comes too often is asked to wait.
const PATIENCE: Duration = Duration::from_millis(700);

/// How long an overloaded service asks to wait, by the contract.
const SOON: Duration = Duration::from_millis(200);

/// How often watched pools are read.
const ROUND: Duration = Duration::from_secs(1);

/// The pools of one life of one replica.
#[derive(Clone)]
pub(crate) struct ReplicaPools {
    database: Database,
    replica: usize,
    life: u64,
    scenario: Scenario,
    closing: CancellationToken,
}

/// How the link takes a call.
enum Luck {
    Away(Duration),
    Busy,
    TooOften,
    Through { there: Duration, back: Duration, lost: bool },
}

impl ReplicaPools {
    pub(crate) fn new(database: Database, replica: usize, scenario: Scenario) -> Self {
        let life = database.now().links[replica].life;
        Self { database, replica, life, scenario, closing: CancellationToken::new() }
    }

    pub(crate) fn close_watches(&self) {
        self.closing.cancel();
    }

    fn luck(&self, may_refuse: bool) -> Luck {
        let mut state = self.database.now();
        let link = state.links[self.replica].clone();
        let random = &mut state.random;
        let mut upto =
            |most: Duration| Duration::from_micros(random.u64(0..=most.as_micros() as u64));
        if !link.up {
            return Luck::Away(upto(SILENCE));
        }
        let (there, back) = (upto(link.slow), upto(link.slow));
        let (refused, lost) = (random.u8(0..100) < link.refuses, random.u8(0..100) < link.loses);
        match (refused && may_refuse, random.bool()) {
            (true, true) => Luck::Busy,
            (true, false) => Luck::TooOften,
            _ => Luck::Through { there, back, lost },
        }
    }

    /// Runs a statement. What it returns is dropped with its answer when the caller leaves, and
    /// forgotten when it is lost.
    async fn run<T>(
        &self,
        may_refuse: bool,
        statement: impl FnOnce(&mut State) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        let (there, back, lost) = match self.luck(may_refuse) {
            Luck::Away(silence) => {
                sleep(silence).await;
                return Err(away());
            }
            Luck::Busy => return Err(PoolError::Overloaded),
            Luck::TooOften => {
                let retry_after = SignedDuration::try_from(PATIENCE).unwrap();
                return Err(PoolError::RateLimited(Limited {
                    limit: Limit::Calls,
                    wait: retry_after,
                }));
            }
            Luck::Through { there, back, lost } => (there, back, lost),
        };
        if there > STATEMENT_TIMEOUT {
            sleep(STATEMENT_TIMEOUT).await;
            return Err(away());
        }
        sleep(there).await;
        let answer = {
            let mut state = self.database.now();
            if !state.links[self.replica].up {
                return Err(away());
            }
            statement(&mut state)
        };
        let left = STATEMENT_TIMEOUT - there;
        sleep(back.min(left)).await;
        if lost || back > left {
            std::mem::forget(answer);
            return Err(away());
        }
        answer
    }

    /// Runs a call about a reservation, and remembers how it was answered.
    async fn about<T>(
        &self,
        method: &'static str,
        reservation: &ReservationId,
        group: Option<&str>,
        statement: impl FnOnce(&mut State) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        let came = {
            let mut state = self.database.now();
            state.arrived(method, self.replica, reservation, group, self.scenario);
            state.elapsed()
        };
        let effect = |state: &mut State| {
            state.effect(method, reservation, self.scenario);
            let number = state.number(reservation.as_str());
            let answer = statement(state);
            let outcome = answer.as_ref().err().map_or("done".into(), |error| format!("{error:?}"));
            state.note(format!("{method} {number} takes effect: {}", shortened(&outcome)));
            answer
        };
        let answer = self.run(true, effect).await;
        self.database.now().told.answered.insert(reservation.clone());
        let told = match &answer {
            Err(PoolError::Overloaded) => Answer::Wait(SOON),
            Err(PoolError::RateLimited(_)) => Answer::Wait(PATIENCE),
            Err(PoolError::Store(_)) => Answer::Unsure,
            _ => Answer::Settled,
        };
        self.database.now().answers(reservation, came, told);
        answer
    }

    async fn device_status(&self, owner: &Owner) -> Result<DeviceStatus, PoolError> {
        self.run(false, |state| Ok(state.model.status_of(owner).into())).await
    }
}

/// An outcome without what is random in it.
fn shortened(outcome: &str) -> &str {
    outcome.split(['(', '{', ' ']).next().unwrap_or_default()
}

fn away() -> PoolError {
    PoolError::Store(StoreError::Unavailable(std::sync::Arc::new(std::io::Error::other("away"))))
}

/// What a reserve has newly taken. Given back when the caller leaves before it has the answer,
/// unless it was asked for again.
struct Taken {
    pools: ReplicaPools,
    reservation: ReservationId,
    /// Which asking it was.
    asked: u64,
    release: Release,
    report: Option<ReserveReport>,
}

impl Taken {
    fn claim(mut self) -> Option<ReserveReport> {
        self.report.take()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.report.is_some(), Handle::try_current()) else { return };
        let Self { pools, reservation, asked, release, .. } = &*self;
        let (pools, reservation, asked) = (pools.clone(), reservation.clone(), *asked);
        let release = release.clone();
        runtime.spawn(async move {
            sleep(Duration::from_millis(2)).await;
            let mut state = pools.database.now();
            let alive = state.links[pools.replica].life == pools.life;
            if alive && state.asked.get(&reservation) == Some(&asked) {
                let number = state.number(reservation.as_str());
                state.note(format!("{number} is given back: its caller left"));
                state.model.release(&release);
            }
        });
    }
}

fn row(granted: Granted) -> ReservedPackage {
    let grant = granted.any_of.into_iter().next().expect("a grant of something");
    let facts = stock::with_ref(&grant.reference);
    ReservedPackage {
        user: granted.owner.user,
        device: granted.owner.device,
        package: ReservedRow {
            reference: grant.reference,
            key_package: if grant.emptied { Vec::new() } else { facts.bytes.clone() },
            cipher_suite: facts.suite,
            not_after: facts.not_after,
            held_until: grant.held_until,
            asked_at: None,
            found: false,
            last_resort: facts.last_resort,
            spent: grant.held_until.is_none(),
        },
    }
}

/// The answer to a call about packages of a reservation.
fn settled(hold: &HoldRequest, fates: Vec<Fate>) -> Result<(), PoolError> {
    if fates.iter().all(Fate::is_empty) {
        return Ok(());
    }
    let faults = hold.packages.iter().zip(fates);
    let faults = faults
        .map(|(name, fate)| PackageFault { name: name.clone(), fault: fate.into_iter().min() });
    Err(PoolError::Packages(hold.reservation.clone(), faults.collect()))
}

fn unknown(state: &State, user: &UserId, device: Option<&DeviceId>) -> PoolError {
    match device {
        Some(device) if state.model.knows(user, None) => {
            PoolError::UnknownDevice(user.clone(), device.clone())
        }
        _ => PoolError::UnknownUser(user.clone()),
    }
}

impl Pools for ReplicaPools {
    type Watch = Watch;

    fn now(&self) -> Timestamp {
        self.database.now().model.now
    }

    async fn upload(
        &self,
        user: &UserId,
        device: &DeviceId,
        packages: Vec<Vec<u8>>,
    ) -> Result<UploadReport, PoolError> {
        let owner = Owner { user: user.clone(), device: device.clone() };
        let facts: Vec<_> = packages.iter().filter_map(|bytes| stock::named(bytes)).collect();
        self.run(true, |state| {
            let results = state.model.upload(&owner, &facts).into_iter().zip(&facts);
            let results = results.map(|(result, facts)| match result {
                Uploaded::Accepted => UploadResult::Accepted(facts.reference.clone()),
                Uploaded::AlreadyPresent => UploadResult::AlreadyPresent(facts.reference.clone()),
                Uploaded::Rejected(reasons) => {
                    let reason = reasons.first().copied().unwrap_or(RejectionReason::Invalid);
                    UploadResult::Rejected(reason.because("is not taken"))
                }
            });
            let results = results.collect();
            state.note(format!("{user}/{device} has {} more", facts.len()));
            Ok(UploadReport { results, status: state.model.status_of(&owner).into() })
        })
        .await
    }

    async fn status(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
    ) -> Result<Vec<DeviceStatus>, PoolError> {
        self.run(true, |state| match state.model.status(user, device) {
            none if none.is_empty() => Err(unknown(state, user, device)),
            statuses => Ok(statuses.into_iter().map(Into::into).collect()),
        })
        .await
    }

    async fn watch(&self, user: UserId, device: DeviceId) -> Result<Watch, PoolError> {
        if self.closing.is_cancelled() {
            return Err(PoolError::ShuttingDown);
        }
        let owner = Owner { user, device };
        let seen = signature(&self.device_status(&owner).await?);
        Ok(Watch { pools: self.clone(), owner, seen, first: true })
    }

    async fn reconcile(
        &self,
        user: &UserId,
        device: &DeviceId,
        refs: Vec<KeyPackageRef>,
        as_of: Option<Timestamp>,
    ) -> Result<ReconcileReport, PoolError> {
        let owner = Owner { user: user.clone(), device: device.clone() };
        self.run(true, |state| {
            let Some(found) = state.model.reconcile(&owner, &refs, as_of) else {
                return Err(unknown(state, user, Some(device)));
            };
            let unavailable = found.unavailable.into_iter();
            let unavailable =
                unavailable.map(|(reference, states)| Reconciled { reference, state: states[0] });
            Ok(ReconcileReport {
                revoked: found.revoked,
                unavailable: unavailable.collect(),
                status: state.model.status_of(&owner).into(),
            })
        })
        .await
    }

    async fn revoke(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
        selector: Selector,
    ) -> Result<usize, PoolError> {
        self.run(true, |state| {
            let revoked = state.model.revoke(user, device, &selector);
            revoked.ok_or_else(|| unknown(state, user, device))
        })
        .await
    }

    async fn reserve(&self, request: ReserveRequest) -> Result<ReserveReport, PoolError> {
        let reservation = request.reservation.clone();
        let group = String::from_utf8_lossy(request.group.as_bytes()).into_owned();
        let statement = |state: &mut State| {
            let before = state.held_by(&reservation);
            let asked = state.asked.entry(reservation.clone()).or_default();
            *asked += 1;
            let asked = *asked;
            match state.model.reserve(&request) {
                Reserved::Done { granted, missing } => {
                    let packages: Vec<_> = granted.into_iter().map(row).collect();
                    Ok(Taken {
                        pools: self.clone(),
                        reservation: reservation.clone(),
                        asked,
                        release: newly_taken(&request, &packages, &before),
                        report: Some(ReserveReport {
                            reservation: Reservation {
                                id: reservation.clone(),
                                group: request.group.clone(),
                                packages,
                            },
                            missing,
                        }),
                    })
                }
                Reserved::Missing(missing) => Err(PoolError::NothingReserved(missing)),
                Reserved::Refused => Err(PoolError::ReservationIdReused(reservation.clone())),
            }
        };
        let taken = self.about("reserve", &reservation, Some(&group), statement).await?;
        Ok(taken.claim().expect("a reserve that was answered"))
    }

    async fn spend(&self, request: &SpendRequest) -> Result<(), PoolError> {
        let hold = &request.hold;
        let spend = |state: &mut State| settled(hold, state.model.spend(request));
        self.about("spend", &hold.reservation, None, spend).await
    }

    async fn release(&self, request: &Release) -> Result<(), PoolError> {
        let hold = &request.hold;
        let release = |state: &mut State| settled(hold, state.model.release(request));
        self.about("release", &hold.reservation, None, release).await
    }

    async fn extend(&self, request: &Extension) -> Result<Timestamp, PoolError> {
        let hold = &request.hold;
        let extend = |state: &mut State| {
            let (fates, end) = state.model.extend(request);
            settled(hold, fates).map(|()| end)
        };
        self.about("extend", &hold.reservation, None, extend).await
    }
}

fn newly_taken(
    request: &ReserveRequest,
    packages: &[ReservedPackage],
    before: &[KeyPackageRef],
) -> Release {
    let new = packages.iter().filter(|one| {
        let row = &one.package;
        !row.spent && !row.last_resort && !before.contains(&row.reference)
    });
    let names: Vec<_> = new
        .map(|one| keypool_service::pool::PackageName {
            user: one.user.clone(),
            device: one.device.clone(),
            reference: one.package.reference.clone(),
        })
        .collect();
    Release {
        reports: vec![None; names.len()],
        hold: HoldRequest {
            caller: request.caller.clone(),
            reservation: request.reservation.clone(),
            packages: names,
        },
    }
}

/// What a watcher is told about, as by the service: see `pool/watch.rs`.
pub(crate) type Signature = Vec<(CipherSuite, Health, u64, Option<(KeyPackageRef, u64)>)>;

pub(crate) fn signature(status: &DeviceStatus) -> Signature {
    let pools = status.pools.iter().map(|pool| {
        let counts = &pool.counts;
        let last_resort = counts.last_resort.as_ref().map(|one| (one.reference.clone(), one.uses));
        (counts.cipher_suite, pool.health, counts.spent, last_resort)
    });
    pools.collect()
}

/// A watch that reads its pool each second.
pub(crate) struct Watch {
    pools: ReplicaPools,
    owner: Owner,
    seen: Signature,
    first: bool,
}

impl Statuses for Watch {
    async fn next(&mut self) -> Option<Result<DeviceStatus, PoolError>> {
        while !std::mem::take(&mut self.first) {
            tokio::select! {
                biased;
                () = self.pools.closing.cancelled() => return None,
                () = sleep(ROUND) => {}
            }
            let Ok(status) = self.pools.device_status(&self.owner).await else { continue };
            if signature(&status) != self.seen {
                break;
            }
        }
        let told = self.pools.device_status(&self.owner).await;
        if let Ok(status) = &told {
            self.seen = signature(status);
        }
        Some(told)
    }
}
