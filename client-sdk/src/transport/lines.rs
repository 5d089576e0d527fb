//! The connections to one replica: one for all calls, and more where that has no room for another
//! watch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint, Error};

use super::Dial;
use super::line::Line;

/// How many watches one connection gets: half of what the service allows by default, so that other
/// calls never wait for a stream.
const WATCHES: usize = 64;

/// The first connection takes calls and watches, the others only watches. They are made as watches
/// need them, and dropped with their last one.
#[derive(Debug)]
pub(super) struct Lines {
    /// How to connect. An application's own channel can't be made a second time.
    dial: Option<(Dial, Endpoint)>,
    first: Arc<Shared>,
    further: Mutex<Vec<Arc<Shared>>>,
}

/// A connection, and its watches.
#[derive(Debug)]
struct Shared {
    line: Line,
    watches: AtomicUsize,
    /// How many it takes: fewer once the service has refused one, until the last of them is gone.
    most: AtomicUsize,
}

impl Lines {
    pub(super) fn over(channel: Channel) -> Self {
        Self::with(None, Line::over(channel))
    }

    pub(super) fn to(endpoint: Endpoint, dial: Dial) -> Self {
        let line = Line::to(endpoint.clone(), dial.clone());
        Self::with(Some((dial, endpoint)), line)
    }

    /// Connects at once.
    pub(super) async fn now(endpoint: Endpoint, dial: Dial) -> Result<Self, Error> {
        let line = Line::now(endpoint.clone(), dial.clone()).await?;
        Ok(Self::with(Some((dial, endpoint)), line))
    }

    fn with(dial: Option<(Dial, Endpoint)>, line: Line) -> Self {
        Self { dial, first: Arc::new(Shared::new(line)), further: Mutex::default() }
    }

    /// By which connection a call goes.
    pub(super) fn for_call(&self) -> Seat {
        Seat::on(&self.first, SeatKind::Call)
    }

    /// By which connection a watch goes, which has its seat there for as long as it lasts.
    pub(super) fn for_watch(&self) -> Seat {
        let Some((dial, endpoint)) = &self.dial else {
            return Seat::on(&self.first, SeatKind::OnlyWatch);
        };
        let mut further = self.further();
        further.retain(|shared| shared.watches.load(Ordering::Relaxed) > 0);
        let mut all = std::iter::once(&self.first).chain(&*further);
        if let Some(shared) = all.find(|shared| shared.has_room()) {
            return Seat::on(shared, SeatKind::Watch);
        }
        let shared = Arc::new(Shared::new(Line::to(endpoint.clone(), dial.clone())));
        further.push(shared.clone());
        Seat::on(&shared, SeatKind::Watch)
    }

    fn further(&self) -> MutexGuard<'_, Vec<Arc<Shared>>> {
        self.further.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn new(line: Line) -> Self {
        Self { line, watches: AtomicUsize::new(0), most: AtomicUsize::new(WATCHES) }
    }

    fn has_room(&self) -> bool {
        self.watches.load(Ordering::Relaxed) < self.most.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SeatKind {
    Call,
    Watch,
    /// A watch that has no other connection to go to.
    OnlyWatch,
}

/// What a call or a watch goes by, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    shared: Arc<Shared>,
    kind: SeatKind,
    /// Kept for watches: hyper pings only as long as calls could be made.
    channel: Channel,
}

impl Seat {
    fn on(shared: &Arc<Shared>, kind: SeatKind) -> Self {
        if kind != SeatKind::Call {
            shared.watches.fetch_add(1, Ordering::Relaxed);
        }
        Self { shared: shared.clone(), kind, channel: shared.line.channel() }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// There was an answer.
    pub(crate) fn heard(&self, now: Instant) {
        self.shared.line.heard(now);
    }

    /// There was no answer, not even an error, to a call that began then.
    pub(crate) fn silent(&self, began: Instant, now: Instant) {
        self.shared.line.silent(began, now);
    }

    /// The connection has as many watches as the service allows: it gets no more. Returns whether
    /// another connection may have room, which is not to be expected if this one had no other watch.
    pub(crate) fn is_crowded(&self) -> bool {
        let others = self.shared.watches.load(Ordering::Relaxed).saturating_sub(1);
        self.shared.most.fetch_min(others, Ordering::Relaxed);
        others > 0 && self.kind == SeatKind::Watch
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.kind != SeatKind::Call && self.shared.watches.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Nothing is left of what it was refused beside.
            self.shared.most.store(WATCHES, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> Endpoint {
        Endpoint::from_static("http://[::1]:1")
    }

    fn same(a: &Seat, b: &Seat) -> bool {
        Arc::ptr_eq(&a.shared, &b.shared)
    }

    #[tokio::test]
    async fn watches_beyond_a_connections_share_get_another_one() {
        let lines = Lines::to(nobody(), Dial::default());
        let mut watches: Vec<_> = (0..2 * WATCHES).map(|_| lines.for_watch()).collect();
        let call = lines.for_call();
        assert!(watches[..WATCHES].iter().all(|watch| same(watch, &call)));
        assert!(watches[WATCHES..].iter().all(|watch| same(watch, &watches[WATCHES])));
        assert!(!same(&call, &watches[WATCHES]));
        assert_eq!(lines.further().len(), 1);

        watches.truncate(WATCHES);
        watches.pop();
        assert!(same(&lines.for_watch(), &call), "there is room again");
        assert_eq!(lines.further().len(), 0, "nobody needs it");
    }

    #[tokio::test]
    async fn a_connection_that_was_crowded_gets_no_more_watches_than_it_had() {
        let lines = Lines::to(nobody(), Dial::default());
        let mut watches: Vec<_> = (0..8).map(|_| lines.for_watch()).collect();
        assert!(watches.pop().unwrap().is_crowded());
        let elsewhere = lines.for_watch();
        assert!(!same(&elsewhere, &watches[0]));
        assert!(!elsewhere.is_crowded(), "it is alone there");
        watches.pop();
        assert!(same(&lines.for_watch(), &watches[0]));
    }

    #[tokio::test]
    async fn a_connection_that_was_crowded_takes_watches_again_once_all_are_gone() {
        let lines = Lines::to(nobody(), Dial::default());
        let (call, watch) = (lines.for_call(), lines.for_watch());
        assert!(!watch.is_crowded(), "it is alone");
        assert!(!same(&lines.for_watch(), &call));
        drop(watch);
        assert!(same(&lines.for_watch(), &call));
    }

    #[tokio::test]
    async fn an_applications_channel_is_the_only_one() {
        let lines = Lines::over(nobody().connect_lazy());
        let watches: Vec<_> = (0..2 * WATCHES).map(|_| lines.for_watch()).collect();
        assert!(watches.iter().all(|watch| same(watch, &watches[0])));
        assert!(!watches[0].is_crowded(), "there is no other");
    }
}
