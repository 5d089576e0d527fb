//! Events that may be an attack, under stable names for alerts: counted, and in the log.
//!
//! The log has a bounded rate. Each caller has a share, and the first event of a caller is not crowded out by the further ones
//! of others: so a noisy caller does not hide the rest.

use crate::telemetry::{Burst, catalogue};
use lru::LruCache;
use std::{
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroUsize,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How many lines of one event and caller are written in [`WINDOW`].
const LINES: u32 = 10;

/// See [`LINES`].
const WINDOW: Duration = Duration::from_secs(10);

/// How many pairs of event and caller are remembered, in about 1 MB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

/// How often the log says what was left out.
const REPORTS: Duration = Duration::from_secs(5);

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A caller did not prove who it is.
    AuthenticationRefused,
    /// A caller may not do what it asked for.
    PermissionDenied,
    /// A package that is spent was to be spent again, by another reservation.
    DoubleSpendRefused,
    /// A reservation of somebody else was to be used.
    ForeignReservationRefused,
    /// A limit was hit. Counted only.
    RateLimited,
}

impl Event {
    const ALL: [Self; 5] = [
        Self::AuthenticationRefused,
        Self::PermissionDenied,
        Self::DoubleSpendRefused,
        Self::ForeignReservationRefused,
        Self::RateLimited,
    ];

    /// Its name, which never changes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AuthenticationRefused => "authentication_refused",
            Self::PermissionDenied => "permission_denied",
            Self::DoubleSpendRefused => "double_spend_refused",
            Self::ForeignReservationRefused => "foreign_reservation_refused",
            Self::RateLimited => "rate_limited",
        }
    }

    /// Counts it.
    pub fn count(self) {
        catalogue::SECURITY_EVENTS.count([self.name()]);
    }

    /// Counts it, and says whether to log it too.
    pub(crate) fn count_and_log(self, caller: &impl Hash) -> bool {
        self.count();
        let is_logged = LOG.admits(self, caller, Instant::now());
        if !is_logged {
            catalogue::SECURITY_EVENTS_NOT_LOGGED.count([self.name()]);
        }
        is_logged
    }
}

/// Counts an event of a caller and logs it, with fields, at the target `keypool::security`, unless there are too many.
macro_rules! event {
    ($event:expr, of $caller:expr, $($fields:tt)*) => {{
        let event: $crate::security::Event = $event;
        if event.count_and_log($caller) {
            tracing::warn!(target: "keypool::security", event = event.name(), $($fields)*);
        }
    }};
}
pub(crate) use event;

static LOG: LazyLock<Log> = LazyLock::new(Log::new);

/// Tells the log again and again what it lacks, until the task is dropped.
pub(crate) async fn report() {
    let mut ticks = tokio::time::interval(REPORTS);
    loop {
        ticks.tick().await;
        tell_left_out();
    }
}

/// Tells the log what it lacks since this was told last.
pub(crate) fn tell_left_out() {
    for (event, left_out) in LOG.left_out() {
        tracing::warn!(
            target: "keypool::security",
            event = event.name(),
            left_out,
            "events were left out of the log: there were too many of some callers, or in all"
        );
    }
}

/// Which events are logged.
struct Log {
    hasher: RandomState,
    /// By a hash of event and caller under a secret of the process, so that nobody can choose to share another's.
    callers: Mutex<LruCache<u64, Lines>>,
    kinds: [Kind; Event::ALL.len()],
}

/// The lines of one event and caller.
struct Lines {
    since: Instant,
    count: u32,
}

/// What all callers cause of one event.
#[derive(Default)]
struct Kind {
    first: Burst,
    further: Burst,
    left_out: AtomicU64,
}

impl Log {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            callers: Mutex::new(LruCache::new(REMEMBERED)),
            kinds: Default::default(),
        }
    }

    fn admits(&self, event: Event, caller: &impl Hash, now: Instant) -> bool {
        let kind = &self.kinds[event as usize];
        let admitted = match self.lines(event, caller, now) {
            1 => kind.first.may_log_at(now),
            2..=LINES => kind.further.may_log_at(now),
            _ => false,
        };
        if !admitted {
            kind.left_out.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// How many events of a caller came in this window, this one included.
    fn lines(&self, event: Event, caller: &impl Hash, now: Instant) -> u32 {
        let key = self.hasher.hash_one((event, caller));
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = callers.get_or_insert_mut(key, || Lines { since: now, count: 0 });
        if now.saturating_duration_since(lines.since) >= WINDOW {
            *lines = Lines { since: now, count: 0 };
        }
        lines.count = lines.count.saturating_add(1);
        lines.count
    }

    /// How many of each event were left out since this was asked last.
    fn left_out(&self) -> impl Iterator<Item = (Event, u64)> {
        let counts = Event::ALL.into_iter().zip(&self.kinds);
        counts
            .map(|(event, kind)| (event, kind.left_out.swap(0, Ordering::Relaxed)))
            .filter(|(_, left_out)| *left_out > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::{DoubleSpendRefused, PermissionDenied};

    /// How many of so many events of a caller are logged.
    fn logged(log: &Log, event: Event, caller: &str, events: usize, now: Instant) -> usize {
        (0..events).filter(|_| log.admits(event, &caller, now)).count()
    }

    #[test]
    fn a_noisy_caller_does_not_hide_others() {
        let (log, now) = (Log::new(), Instant::now());
        assert_eq!(logged(&log, PermissionDenied, "noisy", 100_000, now), 10);
        assert_eq!(logged(&log, PermissionDenied, "alice", 1, now), 1);
        assert_eq!(logged(&log, DoubleSpendRefused, "noisy", 1, now), 1, "of another event");
        assert_eq!(logged(&log, PermissionDenied, "noisy", 20, now + WINDOW), 10);
    }

    #[test]
    fn many_noisy_callers_do_not_hide_another() {
        let (log, now) = (Log::new(), Instant::now());
        let crowd = (0..50).map(|caller| caller.to_string());
        let logged_of_crowd: usize =
            crowd.map(|caller| logged(&log, PermissionDenied, &caller, 1000, now)).sum();
        assert_eq!(logged_of_crowd, 50 + 100, "the first of each, and as many of all as may be");
        assert_eq!(logged(&log, PermissionDenied, "alice", 1, now), 1);
    }

    #[test]
    fn what_was_left_out_is_told_once() {
        let (log, now) = (Log::new(), Instant::now());
        logged(&log, PermissionDenied, "noisy", 1000, now);
        logged(&log, DoubleSpendRefused, "noisy", 12, now);
        let left_out: Vec<_> = log.left_out().collect();
        assert_eq!(left_out, [(PermissionDenied, 990), (DoubleSpendRefused, 2)]);
        assert_eq!(log.left_out().count(), 0);
    }

    #[test]
    fn any_number_of_callers_takes_bounded_memory_and_lines() {
        let (log, now) = (Log::new(), Instant::now());
        let lines = (0..100_000).filter(|caller| log.admits(PermissionDenied, caller, now));
        assert_eq!(lines.count(), 100);
        assert_eq!(log.callers.lock().unwrap().len(), REMEMBERED.get());
    }
}
