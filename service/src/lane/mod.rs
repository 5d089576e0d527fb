//! Group commit. Calls wait in lanes: a worker with a connection of its own takes all that wait, executes them as one
//! statement with one durable commit, and answers each. Nothing is delayed: while one batch runs the next one gathers, and
//! an idle lane runs a single call at once.
//!
//! Reserves, what is done to holds, and uploads have lanes of their own; a user is always in the same one of each.

mod hold;
mod options;
mod placement;
mod queue;
mod reserve;
mod upload;
mod worker;

pub use hold::{HoldCall, HoldReply};
pub use options::LaneOptions;
pub use reserve::{DeviceOutcome, Granted, Outcome, ReserveCall};
pub use upload::UploadCall;

use crate::{
    clock::Clock,
    fence::FenceGuard,
    limits::Limits,
    store::{Session, Store, StoreError, StoredOutcome},
    supervise::Supervisor,
    types::{Bucket, Target},
};
use jiff::SignedDuration;
use placement::lane_of;
use queue::{Entrance, Room, queue};
use reserve::ReservePart;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;
use worker::{BatchMetrics, Worker};

/// Why a lane did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// Too much waits already, or for too long. Nothing was done.
    #[error("the lane is full")]
    Full,
    /// The service stops. Nothing was done.
    #[error("the lane is closed")]
    Closed,
    /// The database failed.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// A part of the call was done, or may have been, and another was not.
    #[error("only a part was done")]
    Unfinished,
}

/// What a kind of lane does with the items of a batch.
trait Work: Send + Sync + 'static {
    /// The lane's name in metrics and logs.
    const NAME: &'static str;
    /// Whether a reply that nobody takes undoes what was done. Else nothing is run again for callers that have left.
    const GIVES_BACK: bool;
    type Item: Send + Sync + 'static;
    /// Gives back what is in it when it is dropped instead of taken.
    type Reply: Send + 'static;

    /// How many packages an item is about.
    fn weight(item: &Self::Item) -> usize;

    /// Does what the items say and returns their replies, in their order. Must be safe to run again.
    fn run(
        &self,
        session: &mut Session,
        items: &[&Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Reply>, StoreError>> + Send;
}

/// What lanes must know of the rules of the pool.
#[derive(Debug, Clone)]
pub struct LaneRules {
    /// The time, which a batch takes when it begins.
    pub clock: Arc<dyn Clock>,
    /// How long after its revocation a package may still be spent under an earlier hold.
    pub revocation_grace: SignedDuration,
    /// How long a one-time package may be held for a reservation in all.
    pub max_total_hold: SignedDuration,
    /// How many of a device's packages that nobody has seen are kept for holders within their fair share.
    pub fair_share: u32,
    /// How many one-time packages of each cipher suite a device may have.
    pub cap: u32,
    /// How many bytes the packages of a user may have.
    pub max_bytes_per_user: u64,
    /// How many devices a user may have.
    pub max_devices: u32,
    /// The longest lifetime of a package: a device that has not uploaded for so long has none.
    pub max_lifetime: SignedDuration,
    /// How much of its lifetime a package must have left when it is stored.
    pub min_remaining: SignedDuration,
    /// What holders have used of their limits.
    pub limits: Arc<Limits>,
    /// What is remembered of the database.
    pub fence: Arc<FenceGuard>,
}

/// All lanes. Cheap to clone; when the last clone is gone they end.
#[derive(Clone)]
pub struct Lanes {
    inner: Arc<Inner>,
}

struct Inner {
    reserve: Family<reserve::Reserve>,
    hold: Arc<Family<hold::Hold>>,
    upload: Family<upload::Upload>,
    workers: Mutex<Workers>,
    /// Holds are given back until nothing is reserved any more.
    hold_workers: Mutex<Workers>,
}

/// The workers of some lanes, and what lets them end once nothing waits.
#[derive(Default)]
struct Workers {
    closing: CancellationToken,
    tasks: JoinSet<()>,
}

impl Workers {
    async fn end(&mut self) {
        self.closing.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").finish_non_exhaustive()
    }
}

/// What lanes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneKind {
    /// Reserves.
    Reserve,
    /// What is done to holds.
    Hold,
    /// Uploads.
    Upload,
}

impl Lanes {
    /// Starts the lanes. Must be called within a Tokio runtime. Each connects to the database with its first batch.
    #[must_use]
    pub fn start(
        store: &Store,
        rules: &LaneRules,
        options: &LaneOptions,
        tasks: &Supervisor,
    ) -> Self {
        let (mut workers, mut hold_workers) = (Workers::default(), Workers::default());
        let start = Start { store, options, fence: &rules.fence, tasks };
        let hold = || hold::Hold::new(rules.clone());
        let hold = Arc::new(start.family(&mut hold_workers, options.hold, hold));
        let reserve = || reserve::Reserve::new(rules.clone(), hold.clone());
        let reserve = start.family(&mut workers, options.reserve, reserve);
        let upload = || upload::Upload::new(rules.clone());
        let upload = start.family(&mut workers, options.upload, upload);
        let (workers, hold_workers) = (Mutex::new(workers), Mutex::new(hold_workers));
        Self { inner: Arc::new(Inner { reserve, hold, upload, workers, hold_workers }) }
    }

    /// Ensures that the call's reservation holds one package of each device of the targets, as far as there are any. What
    /// this returns gives the new holds back unless it is [claimed](Granted::claim); so does leaving before it returns.
    ///
    /// # Errors
    /// If the lanes are full or closed, or the database fails: then whatever is newly held is given back.
    pub async fn reserve(
        &self,
        call: Arc<ReserveCall>,
        targets: Vec<Target>,
    ) -> Result<Granted, LaneError> {
        let family = &self.inner.reserve;
        let mut parts: Vec<(usize, Vec<Target>)> = Vec::with_capacity(1);
        for target in targets {
            let lane = family.lane_of(Bucket::of(&target.user));
            match parts.iter_mut().find(|(number, _)| *number == lane) {
                Some((_, targets)) => targets.push(target),
                None => parts.push((lane, vec![target])),
            }
        }
        let weighed = parts.iter().map(|(lane, targets)| (*lane, targets.len()));
        let rooms = family.rooms(weighed)?;
        let replies = rooms.into_iter().zip(parts).map(|(room, (lane, targets))| {
            family.lane(lane).push(room, ReservePart::new(&call, targets))
        });
        let mut granted = Granted::nothing(call.clone(), self.inner.hold.clone());
        for part in answers(replies.collect()).await? {
            granted.add(part);
        }
        Ok(granted)
    }

    /// Does something to held packages, and returns what came of each, in their order.
    ///
    /// # Errors
    /// If the lanes are full or closed, or the database fails: some packages may have been done then, unless the error says
    /// that nothing was, and repeating the call is safe.
    pub async fn hold(&self, call: HoldCall) -> Result<HoldReply, LaneError> {
        let family = &self.inner.hold;
        let mut reply = vec![None; call.len()];
        let parts = call.split(family);
        let rooms = family.rooms(parts.iter().map(|(lane, numbers, _)| (*lane, numbers.len())))?;
        let (numbers, replies): (Vec<_>, Vec<_>) = rooms
            .into_iter()
            .zip(parts)
            .map(|(room, (lane, numbers, call))| (numbers, family.lane(lane).push(room, call)))
            .unzip();
        for (numbers, outcomes) in numbers.into_iter().zip(answers(replies).await?) {
            for (number, outcome) in numbers.into_iter().zip(outcomes) {
                reply[number] = outcome;
            }
        }
        Ok(reply)
    }

    /// Stores valid packages of a device, all in one transaction, and returns what came of each, in their order.
    ///
    /// # Errors
    /// If the lanes are full or closed, or the database fails.
    pub async fn upload(&self, call: UploadCall) -> Result<Vec<StoredOutcome>, LaneError> {
        let lane = self.inner.upload.of(call.device.bucket);
        let room = lane.room(call.packages.len())?;
        answer(lane.push(room, call)).await
    }

    /// Whether the lanes of a kind refuse as full whatever comes now, which is counted then.
    #[must_use]
    pub fn refuse(&self, kind: LaneKind) -> bool {
        match kind {
            LaneKind::Reserve => self.inner.reserve.refuses(),
            LaneKind::Hold => self.inner.hold.refuses(),
            LaneKind::Upload => self.inner.upload.refuses(),
        }
    }

    /// Refuses new calls, finishes those that wait, and ends the lanes. Dropped before it returns, it ends them at once.
    pub async fn close(&self) {
        self.inner.reserve.close();
        self.inner.upload.close();
        let take = |workers: &Mutex<Workers>| {
            std::mem::take(&mut *workers.lock().unwrap_or_else(PoisonError::into_inner))
        };
        take(&self.inner.workers).end().await;
        take(&self.inner.hold_workers).end().await;
    }
}

async fn answer<T>(reply: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, LaneError> {
    Ok(reply.await.map_err(|_gone| LaneError::Closed)??)
}

/// The answers to all parts of a call. One part that failed does not say that the others did nothing.
async fn answers<T>(
    replies: Vec<oneshot::Receiver<Result<T, StoreError>>>,
) -> Result<Vec<T>, LaneError> {
    let mut answers = Vec::with_capacity(replies.len());
    let (mut failed, mut has_effects) = (None, false);
    for reply in replies {
        match answer(reply).await {
            Ok(answer) => answers.push(answer),
            Err(error) => {
                has_effects |= matches!(error, LaneError::Store(_));
                failed = Some(error);
            }
        }
    }
    has_effects |= !answers.is_empty();
    match failed {
        None => Ok(answers),
        Some(LaneError::Closed) if has_effects => Err(LaneError::Unfinished),
        Some(error) => Err(error),
    }
}

/// What it takes to start lanes.
struct Start<'a> {
    store: &'a Store,
    options: &'a LaneOptions,
    fence: &'a Arc<FenceGuard>,
    tasks: &'a Supervisor,
}

impl Start<'_> {
    fn family<W: Work>(
        &self,
        workers: &mut Workers,
        lanes: usize,
        work: impl Fn() -> W,
    ) -> Family<W> {
        let entrances = (0..lanes).map(|number| {
            let (entrance, exit) = queue(self.options.queue_packages, self.options.batch_packages);
            let worker = Worker {
                work: work(),
                queue: exit,
                store: self.store.clone(),
                fence: self.fence.clone(),
                closing: workers.closing.clone(),
                metrics: BatchMetrics::of(W::NAME),
            };
            let name = format!("lane {} {number}", W::NAME);
            self.tasks.spawn_in(&mut workers.tasks, name, worker.run());
            entrance
        });
        Family { entrances: entrances.collect() }
    }
}

/// The lanes of one kind.
struct Family<W: Work> {
    entrances: Vec<Entrance<W>>,
}

impl<W: Work> Family<W> {
    fn lane_of(&self, bucket: Bucket) -> usize {
        lane_of(bucket, self.entrances.len())
    }

    fn lane(&self, number: usize) -> &Entrance<W> {
        &self.entrances[number]
    }

    fn of(&self, bucket: Bucket) -> &Entrance<W> {
        self.lane(self.lane_of(bucket))
    }

    /// Takes room in lanes for parts of these weights: in all of them or in none.
    fn rooms(&self, parts: impl Iterator<Item = (usize, usize)>) -> Result<Vec<Room>, LaneError> {
        parts.map(|(lane, weight)| self.lane(lane).room(weight)).collect()
    }

    fn refuses(&self) -> bool {
        let full = self.entrances.iter().all(Entrance::is_full);
        if let (true, Some(one)) = (full, self.entrances.first()) {
            one.count_refused();
        }
        full
    }

    fn close(&self) {
        self.entrances.iter().for_each(Entrance::close);
    }
}
