//! Which replica answers a call.
//!
//! tonic's own balancer picks at random, and takes a replica that refuses connections for a ready
//! one. Here a try of a call goes where the tries before it did not fail, and a replica that is down
//! is left alone for a while.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::lines::{Lines, Seat};
use crate::retry::Repeated;
use crate::{Error, Result};

const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// An endpoint by its number, or one of the addresses behind its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: usize,
    pub(super) address: Option<SocketAddr>,
}

/// The replicas, in turn.
#[derive(Debug)]
pub(crate) struct Replicas {
    list: RwLock<Arc<[Arc<Replica>]>>,
    next: AtomicUsize,
}

impl Replicas {
    pub(super) fn by(lines: Lines) -> Self {
        let place = Place { name: 0, address: None };
        Self::new(vec![Arc::new(Replica::new(place, lines))])
    }

    pub(super) fn to<C>(places: impl Iterator<Item = (Place, C)>) -> Self
    where
        C: FnOnce() -> Option<Lines>,
    {
        let replicas = Self::new(Vec::new());
        replicas.update(places);
        replicas
    }

    fn new(list: Vec<Arc<Replica>>) -> Self {
        Self { list: RwLock::new(list.into()), next: AtomicUsize::new(0) }
    }

    /// These are the places from now on, each with how to connect to it. Connections to known ones
    /// are kept; calls under way elsewhere end as they would have.
    pub(super) fn update<C>(&self, places: impl Iterator<Item = (Place, C)>)
    where
        C: FnOnce() -> Option<Lines>,
    {
        let known = self.list();
        let replica = |(place, connect): (Place, C)| {
            let same = known.iter().find(|replica| replica.place == place).cloned();
            let new = || Some(Arc::new(Replica::new(place, connect()?)));
            same.or_else(new)
        };
        let list: Arc<[_]> = places.filter_map(replica).collect();
        if !list.is_empty() {
            *self.list.write().unwrap_or_else(PoisonError::into_inner) = list;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list().len()
    }

    /// The next replica in turn, preferably one where this call has not failed yet, and none that is
    /// at rest.
    pub(crate) fn pick(&self, failed: &[Arc<Replica>], now: Instant) -> Result<Arc<Replica>> {
        let list = self.list();
        let first = self.next.fetch_add(1, Ordering::Relaxed) % list.len().max(1);
        let in_turn = list[first..].iter().chain(&list[..first]);
        let best = in_turn.min_by_key(|replica| (is_among(failed, replica), replica.rests(now)));
        let best = best.ok_or_else(|| Error::Transport("no replica is known".into()))?;
        best.picked(now);
        Ok(best.clone())
    }

    /// Whether there is one where this call has not failed yet, and that is not at rest.
    pub(crate) fn has_fresh(&self, failed: &[Arc<Replica>], now: Instant) -> bool {
        self.list().iter().any(|replica| !is_among(failed, replica) && !replica.rests(now))
    }

    fn list(&self) -> Arc<[Arc<Replica>]> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn is_among(replicas: &[Arc<Replica>], replica: &Arc<Replica>) -> bool {
    replicas.iter().any(|one| Arc::ptr_eq(one, replica))
}

/// One replica, and how it did of late.
#[derive(Debug)]
pub(crate) struct Replica {
    place: Place,
    lines: Lines,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    rests_until: Option<Instant>,
}

impl Replica {
    fn new(place: Place, lines: Lines) -> Self {
        Self { place, lines, health: Mutex::default() }
    }

    pub(crate) fn seat(&self, repeated: Repeated) -> Seat {
        match repeated {
            Repeated::WithinDeadline => self.lines.for_call(),
            Repeated::Endlessly => self.lines.for_watch(),
        }
    }

    pub(crate) fn answered(&self) {
        *self.health() = Health::default();
    }

    /// Gives it a rest: twice as long each time, until it answers.
    pub(crate) fn failed(&self, now: Instant) {
        let mut health = self.health();
        if !health.rests(now) {
            health.rest(now);
        }
    }

    /// After a rest a single call tries whether it is back; the others go on elsewhere.
    fn picked(&self, now: Instant) {
        let mut health = self.health();
        if health.failures > 0 && !health.rests(now) {
            health.rest(now);
        }
    }

    fn rests(&self, now: Instant) -> bool {
        self.health().rests(now)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health {
    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|end| now < end)
    }

    fn rest(&mut self, now: Instant) {
        let rest = FIRST_REST.saturating_mul(1 << self.failures.min(5)).min(LONGEST_REST);
        self.failures += 1;
        self.rests_until = Some(now + rest);
    }
}

#[cfg(test)]
impl Replicas {
    pub(super) fn addresses(&self) -> Vec<Option<SocketAddr>> {
        self.list().iter().map(|replica| replica.place.address).collect()
    }

    pub(super) fn at(&self, address: SocketAddr) -> Option<Arc<Replica>> {
        self.list().iter().find(|replica| replica.place.address == Some(address)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;
    use crate::transport::Dial;

    fn replicas(count: usize) -> Replicas {
        let nobody = || Some(Lines::to(Endpoint::from_static("http://[::1]:1"), Dial::default()));
        Replicas::to((0..count).map(|name| (Place { name, address: None }, nobody)))
    }

    /// Where so many calls go, that have failed at these.
    fn picks(
        replicas: &Replicas,
        count: usize,
        failed: &[Arc<Replica>],
        now: Instant,
    ) -> Vec<usize> {
        (0..count).map(|_| replicas.pick(failed, now).unwrap().place.name).collect()
    }

    #[tokio::test]
    async fn each_has_its_turn() {
        assert_eq!(picks(&replicas(3), 6, &[], Instant::now()), [0, 1, 2, 0, 1, 2]);
    }

    #[tokio::test]
    async fn a_call_goes_where_it_has_not_failed() {
        let (replicas, now) = (replicas(3), Instant::now());
        let failed = vec![replicas.list()[1].clone(), replicas.list()[2].clone()];
        assert_eq!(picks(&replicas, 6, &failed, now), [0; 6]);
        assert!(replicas.has_fresh(&failed, now));
        assert!(!replicas.has_fresh(&replicas.list(), now));
    }

    #[tokio::test]
    async fn who_is_down_rests_longer_each_time() {
        let (replicas, mut now) = (replicas(2), Instant::now());
        let down = replicas.list()[0].clone();
        for rest in [1, 2, 4, 8, 16, 30, 30].map(Duration::from_secs) {
            down.failed(now);
            down.failed(now);
            assert_eq!(picks(&replicas, 4, &[], now), [1; 4]);
            assert!(down.rests(now + rest - Duration::from_millis(1)));
            now += rest;
            assert!(!down.rests(now));
        }
    }

    #[tokio::test]
    async fn one_call_tries_whether_it_is_back() {
        let (replicas, now) = (replicas(2), Instant::now());
        let down = replicas.list()[0].clone();
        down.failed(now);
        let later = now + FIRST_REST;
        let there = picks(&replicas, 4, &[], later).into_iter().filter(|name| *name == 0);
        assert_eq!(there.count(), 1);

        down.answered();
        assert_eq!(picks(&replicas, 4, &[], later), [0, 1, 0, 1]);
    }

    #[tokio::test]
    async fn if_all_are_down_they_still_have_their_turn() {
        let (replicas, now) = (replicas(2), Instant::now());
        replicas.list().iter().for_each(|replica| replica.failed(now));
        assert_eq!(picks(&replicas, 4, &[], now), [0, 1, 0, 1]);
    }
}
