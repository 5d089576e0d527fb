use crate::jitter::part_of;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// How long after a connection was asked to end its long streams do: not before the peer knows that it needs another
/// connection, and not all at once.
const GRACE: Duration = Duration::from_secs(1);
const GRACE_SPREAD: Duration = Duration::from_secs(4);
pub(super) const LONGEST_GRACE: Duration = GRACE.saturating_add(GRACE_SPREAD);

/// The streams of a connection that go on until somebody ends them, such as watches: how many there may be, and until when.
#[derive(Debug, Clone)]
pub struct LongStreams {
    places: Arc<Semaphore>,
    old_at: Option<Instant>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct LongStream {
    _place: OwnedSemaphorePermit,
    /// When it must end because its connection has become old; none if connections don't.
    pub ends_at: Option<Instant>,
}

impl LongStreams {
    /// At most so many at the same time, on a connection that is asked to end at some time.
    pub(crate) fn new(most: usize, old_at: Option<Instant>) -> Self {
        let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { places, old_at }
    }

    /// Begins one. None if there are as many as may be.
    #[must_use]
    pub fn begin(&self) -> Option<LongStream> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let ends_at = self.old_at.map(|at| at + GRACE + part_of(GRACE_SPREAD));
        Some(LongStream { _place: place, ends_at })
    }
}
