//! Executes what waits in a queue, batch by batch, on a connection of its own.

use super::{
    Work,
    queue::{Entry, Exit},
};
use crate::{
    causes::causes,
    fence::FenceGuard,
    freeze,
    store::{Session, Silence, Store, StoreError},
    telemetry::{
        catalogue::{LANE_BATCH_DURATION, LANE_BATCH_PACKAGES, LANE_RETRIES, LANE_WAIT},
        is_sampled,
    },
};
use metrics::Histogram;
use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};

/// How often a batch that lost a deadlock is run again.
const CONFLICT_RETRIES: usize = 5;

/// How often a batch whose connection broke is run again.
const LOST_RETRIES: usize = 2;

/// How many calls of a batch may be found to wait for a lock. After that it is no matter of single rows: all are told to try
/// again.
const LOCKED_CALLS: usize = 3;

/// How often a batch is run again whose connection's statements are out of date. Once: a batch can be the cause itself.
const STALE_RETRIES: usize = 1;

pub(super) struct Worker<W: Work> {
    pub(super) work: W,
    pub(super) queue: Exit<W>,
    pub(super) store: Store,
    pub(super) fence: Arc<FenceGuard>,
    /// Ends the worker as soon as its queue is empty.
    pub(super) closing: CancellationToken,
    pub(super) metrics: BatchMetrics,
}

/// What every batch of a lane touches, looked up once.
pub(super) struct BatchMetrics {
    wait: Histogram,
    packages: Histogram,
    duration: Histogram,
}

impl BatchMetrics {
    pub(super) fn of(lane: &'static str) -> Self {
        Self {
            wait: LANE_WAIT.with([lane]),
            packages: LANE_BATCH_PACKAGES.with([lane]),
            duration: LANE_BATCH_DURATION.with([lane]),
        }
    }
}

/// The connection of a lane, made when it is needed.
struct Line {
    session: Option<Session>,
    silence: Silence,
}

impl Line {
    fn new(store: &Store) -> Self {
        Self { session: None, silence: store.silence() }
    }
}

impl<W: Work> Worker<W> {
    pub(super) async fn run(mut self) {
        let mut line = Line::new(&self.store);
        while let Some(batch) = self.next_batch().await {
            if !batch.is_empty() {
                let started = Instant::now();
                for entry in &batch {
                    self.metrics.wait.record(entry.waited());
                }
                let span = span_of(&batch);
                self.settle(&mut line, batch).instrument(span).await;
                self.queue.pace().note(started.elapsed());
            }
        }
    }

    async fn next_batch(&mut self) -> Option<Vec<Entry<W>>> {
        if !self.closing.is_cancelled() {
            tokio::select! {
                batch = self.queue.next_batch() => return batch,
                () = self.closing.cancelled() => {}
            }
        }
        self.queue.close();
        self.queue.next_batch().await
    }

    /// Answers every entry. A batch that fails for what is in it, or for a row that another transaction has locked, is halved
    /// until the fault is alone.
    async fn settle(&self, line: &mut Line, batch: Vec<Entry<W>>) {
        let mut batches = vec![batch];
        let mut locked = 0;
        while let Some(mut batch) = batches.pop() {
            match self.run_again(line, &mut batch).await {
                Ok(replies) => {
                    for (entry, reply) in batch.into_iter().zip(replies) {
                        entry.answer(Ok(reply));
                    }
                }
                Err(StoreError::Locked(error)) if locked == LOCKED_CALLS => {
                    let rest = std::iter::once(batch).chain(batches.drain(..)).flatten();
                    rest.for_each(|entry| entry.answer(Err(StoreError::Locked(error.clone()))));
                }
                Err(StoreError::Internal(_) | StoreError::Locked(_)) if batch.len() > 1 => {
                    LANE_RETRIES.count([W::NAME, "split"]);
                    batches.push(batch.split_off(batch.len() / 2));
                    batches.push(batch);
                }
                Err(error) => {
                    locked += usize::from(matches!(error, StoreError::Locked(_)));
                    for entry in batch {
                        entry.answer(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// Runs a batch, again if it lost a deadlock or its connection, or was prepared for a database that is no longer as it was:
    /// running it again is safe.
    async fn run_again(
        &self,
        line: &mut Line,
        batch: &mut Vec<Entry<W>>,
    ) -> Result<Vec<W::Reply>, StoreError> {
        let (mut conflicts, mut losses, mut renewals) = (0, 0, 0);
        loop {
            let is_first = (conflicts, losses, renewals) == (0, 0, 0);
            match self.run_once(line, batch, is_first).await {
                Err(StoreError::Conflict(_)) if conflicts < CONFLICT_RETRIES => {
                    conflicts += 1;
                    LANE_RETRIES.count([W::NAME, "conflict"]);
                }
                Err(StoreError::Lost(error)) => {
                    line.session = None;
                    if losses == LOST_RETRIES {
                        return Err(StoreError::Lost(error));
                    }
                    losses += 1;
                    LANE_RETRIES.count([W::NAME, "lost"]);
                    tracing::warn!(%error, lane = W::NAME, "a lane lost its connection");
                }
                Err(StoreError::Stale(error)) => {
                    line.session = None;
                    if renewals == STALE_RETRIES {
                        return Err(*error);
                    }
                    renewals += 1;
                    LANE_RETRIES.count([W::NAME, "stale"]);
                    tracing::warn!(error = %causes(&error), lane = W::NAME, "a lane's statements are out of date");
                }
                result => return result,
            }
        }
    }

    async fn connect(&self) -> Result<Session, StoreError> {
        let mut session = self.store.session().await?;
        self.fence.admit(&mut session).await?;
        Ok(session)
    }

    /// Runs a batch, less what was left: of what may have been done already only if nobody needs to give it back.
    async fn run_once(
        &self,
        line: &mut Line,
        batch: &mut Vec<Entry<W>>,
        is_first: bool,
    ) -> Result<Vec<W::Reply>, StoreError> {
        let started = Instant::now();
        let Line { session: open, silence } = line;
        if silence.passed() {
            *open = None;
        }
        if open.as_ref().is_none_or(Session::is_closed) {
            *open = Some(Box::pin(silence.or(self.connect())).await?);
        }
        freeze::settle().await;
        if is_first || !W::GIVES_BACK {
            batch.retain(|entry| !entry.is_abandoned());
        }
        let Some(session) = open.as_mut().filter(|_| !batch.is_empty()) else {
            return Ok(Vec::new());
        };
        // A commit that hangs is found by the guard's own.
        self.fence.note_acknowledged();
        let items: Vec<&W::Item> = batch.iter().map(|entry| &entry.item).collect();
        let run = silence.or(async { Ok(caught(self.work.run(session, &items)).await) });
        let Some(replies) = run.await? else {
            *open = None;
            return Err(StoreError::panicked());
        };
        let replies = replies?;
        self.fence.note_acknowledged();
        let packages: usize = items.iter().map(|item| W::weight(item)).sum();
        #[expect(clippy::cast_precision_loss, reason = "far below the limit")]
        self.metrics.packages.record(packages as f64);
        self.metrics.duration.record(started.elapsed());
        Ok(replies)
    }
}

/// The span of a batch. A batch is part of many traces, and a span of one: the first that is kept. The others link to it.
fn span_of<W: Work>(batch: &[Entry<W>]) -> Span {
    let mut kept = batch.iter().map(Entry::span).filter(|span| is_sampled(span));
    let Some(first) = kept.next() else { return Span::none() };
    let span = tracing::debug_span!(
        parent: first,
        "batch",
        otel.name = field::display(format_args!("lane {}", W::NAME)),
        lane = W::NAME,
        calls = batch.len(),
    );
    for other in kept {
        other.follows_from(&span);
    }
    span
}

/// What a future returns; none if it panicked: that is a fault of its batch, and not the end of the lane.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(_message) => Poll::Ready(None), // the panic hook has logged it
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_wherever_it_happens() {
        assert_eq!(caught(async { 1 }).await, Some(1));
        let late = async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "on purpose");
        };
        assert_eq!(caught(late).await, None);
    }
}
