//! The bounded queue in front of a worker.

use super::{LaneError, Work};
use crate::{
    caller::Waiting,
    store::StoreError,
    telemetry::catalogue::{LANE_REFUSED, LANE_WAITING},
};
use metrics::{Counter, Gauge};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};
use tracing::Span;

/// How long an item may have to wait for its batch. One that would wait longer is refused while its caller still has the time
/// to go elsewhere: a long queue serves callers that are about to leave, and nobody sooner.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// So many batches may wait however long they take.
const ALWAYS_WAIT: usize = 2;

/// What the latest batch weighs in the average of how long batches take: one part in so many.
const MEMORY: u64 = 4;

/// How long a batch takes, as a lane has seen it of late.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace(Arc<AtomicU64>);

impl Pace {
    /// Notes how long a batch took. Only the worker does.
    pub(super) fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before - before / MEMORY + took / MEMORY, Ordering::Relaxed);
    }

    /// Whether what comes after so many batches would wait too long.
    fn is_too_slow_for(&self, batches: usize) -> bool {
        let batch = Duration::from_nanos(self.0.load(Ordering::Relaxed));
        let wait = batch.saturating_mul(u32::try_from(batches).unwrap_or(u32::MAX));
        batches >= ALWAYS_WAIT && wait > LONGEST_WAIT
    }
}

type Answer<W> = Result<<W as Work>::Reply, StoreError>;

/// What is answered to an item.
pub(super) type Reply<W> = oneshot::Receiver<Answer<W>>;

/// Room in a queue for one item.
pub(super) struct Room {
    weight: usize,
    permits: OwnedSemaphorePermit,
}

/// An item that waits for its batch.
pub(super) struct Entry<W: Work> {
    pub(super) item: W::Item,
    caller: Caller<W>,
    weight: usize,
    since: Instant,
    /// How long its caller waits, if that is known.
    waiting: Option<Waiting>,
    /// What its caller traces.
    span: Span,
    /// Its place in the queue, until it is answered.
    _place: Place,
}

/// Where the caller of an item waits.
struct Caller<W: Work> {
    /// None once it is answered.
    sender: Option<oneshot::Sender<Answer<W>>>,
    /// Whether the item's batch was begun.
    has_begun: bool,
}

impl<W: Work> Drop for Caller<W> {
    fn drop(&mut self) {
        // The lane ended meanwhile. Of an item that was not begun, nothing was done: the receiver says so.
        if let Some(sender) = self.sender.take().filter(|_| self.has_begun) {
            drop(sender.send(Err(StoreError::interrupted())));
        }
    }
}

/// Room in a queue, which is seen to be taken.
struct Place {
    _room: OwnedSemaphorePermit,
    weight: f64,
    waiting: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.decrement(self.weight);
    }
}

impl<W: Work> Entry<W> {
    /// How long it has waited.
    pub(super) fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// What its caller traces.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// Whether nobody waits any more: the caller has left, or its deadline has passed.
    pub(super) fn is_abandoned(&self) -> bool {
        let over =
            || self.waiting.is_some_and(|waiting| waiting.is_over(tokio::time::Instant::now()));
        self.caller.sender.as_ref().is_none_or(|caller| caller.is_closed() || over())
    }

    /// Answers the caller. An answer that nobody takes is dropped, which gives back what is in it.
    pub(super) fn answer(mut self, answer: Answer<W>) {
        if let Some(sender) = self.caller.sender.take() {
            drop(sender.send(answer));
        }
    }
}

/// The end of a queue where calls come in.
pub(super) struct Entrance<W: Work> {
    queue: mpsc::UnboundedSender<Entry<W>>,
    room: Arc<Semaphore>,
    capacity: usize,
    batch_limit: usize,
    pace: Pace,
    waiting: Gauge,
    refused: Counter,
}

/// The end of a queue where a worker takes them.
pub(super) struct Exit<W: Work> {
    queue: mpsc::UnboundedReceiver<Entry<W>>,
    waiting: VecDeque<Entry<W>>,
    batch_limit: usize,
    pace: Pace,
}

/// A queue for items that together weigh `capacity` at most, in batches of `batch_limit`.
pub(super) fn queue<W: Work>(capacity: usize, batch_limit: usize) -> (Entrance<W>, Exit<W>) {
    let (queue, receiver) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(capacity));
    let pace = Pace::default();
    let entrance = Entrance {
        queue,
        room,
        capacity,
        batch_limit,
        pace: pace.clone(),
        waiting: LANE_WAITING.with([W::NAME]),
        refused: LANE_REFUSED.with([W::NAME]),
    };
    (entrance, Exit { queue: receiver, waiting: VecDeque::new(), batch_limit, pace })
}

impl<W: Work> Entrance<W> {
    /// Takes room for an item of this weight, unless the queue is full or closed. What has room is not refused any more as long
    /// as the queue is open.
    pub(super) fn room(&self, weight: usize) -> Result<Room, LaneError> {
        let room = if self.is_full() { Err(LaneError::Full) } else { self.any_room(weight) };
        if matches!(room, Err(LaneError::Full)) {
            self.count_refused();
        }
        room
    }

    /// Lets an item wait for its batch; its answer comes through what this returns. Dropping that before the batch begins
    /// takes the item back.
    pub(super) fn push(&self, room: Room, item: W::Item) -> Reply<W> {
        self.enter(room, item, Waiting::current())
    }

    /// The same, however long it may have to wait, and even if the call that it comes from is over.
    pub(super) fn push_patiently(&self, item: W::Item) -> Result<Reply<W>, LaneError> {
        let room = self.any_room(W::weight(&item))?;
        Ok(self.enter(room, item, None))
    }

    fn enter(&self, room: Room, item: W::Item, waiting: Option<Waiting>) -> Reply<W> {
        let (sender, receiver) = oneshot::channel();
        let Room { weight, permits } = room;
        let place = Place {
            _room: permits,
            weight: f64::from(u32::try_from(weight).unwrap_or(u32::MAX)),
            waiting: self.waiting.clone(),
        };
        place.waiting.increment(place.weight);
        let entry = Entry {
            item,
            caller: Caller { sender: Some(sender), has_begun: false },
            weight,
            since: Instant::now(),
            waiting,
            span: Span::current(),
            _place: place,
        };
        // Dropped if the queue is closed: then the receiver is told.
        drop(self.queue.send(entry));
        receiver
    }

    /// Whether it refuses as full whatever comes now.
    pub(super) fn is_full(&self) -> bool {
        let room = self.room.available_permits().min(self.capacity);
        let batches = (self.capacity - room) / self.batch_limit;
        !self.room.is_closed() && (room == 0 || self.pace.is_too_slow_for(batches))
    }

    /// Counts that it refused something as full.
    pub(super) fn count_refused(&self) {
        self.refused.increment(1);
    }

    fn any_room(&self, weight: usize) -> Result<Room, LaneError> {
        let weight = weight.clamp(1, self.capacity);
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        let permits =
            self.room.clone().try_acquire_many_owned(permits).map_err(|error| match error {
                TryAcquireError::NoPermits => LaneError::Full,
                TryAcquireError::Closed => LaneError::Closed,
            })?;
        Ok(Room { weight, permits })
    }

    /// Refuses whatever comes from now on.
    pub(super) fn close(&self) {
        self.room.close();
    }
}

impl<W: Work> Exit<W> {
    /// Waits until there is something, and takes all that waits, up to a batch, but for what nobody waits for any more. None
    /// once the queue is closed and empty.
    pub(super) async fn next_batch(&mut self) -> Option<Vec<Entry<W>>> {
        if self.waiting.is_empty() {
            self.waiting.push_back(self.queue.recv().await?);
        }
        self.waiting.retain(|entry| !entry.is_abandoned());
        while self.waiting.len() < self.batch_limit
            && let Ok(entry) = self.queue.try_recv()
        {
            if !entry.is_abandoned() {
                self.waiting.push_back(entry);
            }
        }
        let mut weight = 0;
        let fitting = self.waiting.iter().take_while(|entry| {
            let first = weight == 0;
            weight += entry.weight;
            first || weight <= self.batch_limit
        });
        let fitting = fitting.count();
        let batch = self.waiting.drain(..fitting).map(|mut entry| {
            entry.caller.has_begun = true;
            entry
        });
        Some(batch.collect())
    }

    /// Where the worker notes how long batches take.
    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Lets nothing more in. What waits is still to be had.
    pub(super) fn close(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Work for Nothing {
        const NAME: &'static str = "reserve";
        const GIVES_BACK: bool = false;
        type Item = &'static str;
        type Reply = ();

        fn weight(_: &Self::Item) -> usize {
            1
        }

        async fn run(
            &self,
            _: &mut crate::store::Session,
            items: &[&Self::Item],
        ) -> Result<Vec<()>, StoreError> {
            Ok(vec![(); items.len()])
        }
    }

    #[tokio::test]
    async fn what_is_given_back_outlives_the_deadline_of_its_call() {
        let (entrance, mut exit) = queue::<Nothing>(10, 10);
        let now = tokio::time::Instant::now();
        let over = Waiting { since: now, until: now };
        let (_call, _release) = over
            .scope(async {
                let room = entrance.room(1).unwrap();
                (entrance.push(room, "call"), entrance.push_patiently("release").unwrap())
            })
            .await;
        let batch = exit.next_batch().await.unwrap();
        let items: Vec<_> = batch.iter().map(|entry| entry.item).collect();
        assert_eq!(items, ["release"]);
    }

    #[test]
    fn what_would_wait_too_long_is_refused() {
        let pace = Pace::default();
        assert!(!pace.is_too_slow_for(1_000_000), "nothing is known yet");
        for _ in 0..100 {
            pace.note(Duration::from_millis(10));
        }
        assert!(!pace.is_too_slow_for(20));
        assert!(pace.is_too_slow_for(30));
    }

    #[test]
    fn one_slow_batch_is_soon_forgotten() {
        let pace = Pace::default();
        pace.note(Duration::from_secs(10));
        assert!(pace.is_too_slow_for(ALWAYS_WAIT) && !pace.is_too_slow_for(ALWAYS_WAIT - 1));
        for _ in 0..20 {
            pace.note(Duration::from_millis(10));
        }
        assert!(!pace.is_too_slow_for(10));
    }
}
