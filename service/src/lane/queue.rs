//! The bounded queue in front of a worker.

use super::{LaneError, Work};
use crate::store::StoreError;
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

type Answer<W> = Result<<W as Work>::Reply, StoreError>;

/// An item that waits for its batch.
pub(super) struct Entry<W: Work> {
    pub(super) item: W::Item,
    /// Where the caller waits; none if nobody does, and the item is to be done all the same.
    caller: Option<oneshot::Sender<Answer<W>>>,
    weight: usize,
    /// Its place in the queue, until it is answered.
    _room: OwnedSemaphorePermit,
}

impl<W: Work> Entry<W> {
    /// Whether nobody waits any more: the caller has left, or its deadline has passed.
    pub(super) fn is_abandoned(&self) -> bool {
        self.caller.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Answers the caller. An answer that nobody takes is dropped, which gives back what is in it.
    pub(super) fn answer(self, answer: Answer<W>) {
        if let Some(caller) = self.caller {
            drop(caller.send(answer));
        }
    }
}

/// The end of a queue where calls come in.
pub(super) struct Entrance<W: Work> {
    queue: mpsc::UnboundedSender<Entry<W>>,
    room: Arc<Semaphore>,
    capacity: usize,
}

/// The end of a queue where a worker takes them.
pub(super) struct Exit<W: Work> {
    queue: mpsc::UnboundedReceiver<Entry<W>>,
    waiting: VecDeque<Entry<W>>,
}

/// A queue for items that together weigh `capacity` at most.
pub(super) fn queue<W: Work>(capacity: usize) -> (Entrance<W>, Exit<W>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(capacity));
    (Entrance { queue: sender, room, capacity }, Exit { queue: receiver, waiting: VecDeque::new() })
}

impl<W: Work> Entrance<W> {
    /// Lets an item wait for its batch; its answer comes through what this returns. Dropping that before the batch begins
    /// takes the item back.
    pub(super) fn push(&self, item: W::Item) -> Result<oneshot::Receiver<Answer<W>>, LaneError> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(item, Some(sender))?;
        Ok(receiver)
    }

    /// Has an item done although nobody waits for its answer.
    pub(super) fn push_unattended(&self, item: W::Item) -> Result<(), LaneError> {
        self.enqueue(item, None)
    }

    fn enqueue(
        &self,
        item: W::Item,
        caller: Option<oneshot::Sender<Answer<W>>>,
    ) -> Result<(), LaneError> {
        let weight = W::weight(&item).clamp(1, self.capacity);
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        let room =
            self.room.clone().try_acquire_many_owned(permits).map_err(|error| match error {
                TryAcquireError::NoPermits => LaneError::Full,
                TryAcquireError::Closed => LaneError::Closed,
            })?;
        self.queue
            .send(Entry { item, caller, weight, _room: room })
            .map_err(|_closed| LaneError::Closed)
    }

    /// Refuses whatever comes from now on.
    pub(super) fn close(&self) {
        self.room.close();
    }
}

impl<W: Work> Exit<W> {
    /// Waits until there is something, and takes all that waits, up to a weight of `limit`. None once the queue is closed
    /// and empty.
    pub(super) async fn next_batch(&mut self, limit: usize) -> Option<Vec<Entry<W>>> {
        if self.waiting.is_empty() {
            self.waiting.push_back(self.queue.recv().await?);
        }
        while self.waiting.len() < limit
            && let Ok(entry) = self.queue.try_recv()
        {
            self.waiting.push_back(entry);
        }
        let mut weight = 0;
        let fitting = self.waiting.iter().take_while(|entry| {
            let first = weight == 0;
            weight += entry.weight;
            first || weight <= limit
        });
        let fitting = fitting.count();
        Some(self.waiting.drain(..fitting).collect())
    }

    /// Lets nothing more in. What waits is still to be had.
    pub(super) fn close(&mut self) {
        self.queue.close();
    }
}
