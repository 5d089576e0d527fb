//! Notices that the process was frozen: by SIGSTOP, a container's pause, or a machine that had no time for it.
//!
//! Calls that came meanwhile waited unseen, and their callers may have given up. gRPC tells how long a caller waits, but not since
//! when: so the time of a call that begins soon after a freeze is counted from the beginning of the freeze.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// How often the process shows that it runs.
const BEAT: Duration = Duration::from_millis(100);

/// A gap between two signs of life that is a freeze.
const GAP: Duration = Duration::from_millis(500);

/// For how long after a freeze a call may be one that came during it.
const AFTERMATH: Duration = Duration::from_millis(500);

/// For how long after a freeze nothing is begun, so that cancellations and closed connections that came during it are seen first.
const SETTLING: Duration = Duration::from_millis(50);

static PULSE: LazyLock<Pulse> = LazyLock::new(|| Pulse::new(Instant::now()));

/// Shows that the process runs, for ever. Without at least one of these, freezes are not noticed.
pub(crate) async fn beat() {
    let _beating = Beating::begin(&PULSE, Instant::now());
    loop {
        PULSE.sign(Instant::now());
        tokio::time::sleep(BEAT).await;
    }
}

/// The freeze that ended a moment ago, if one did.
pub(crate) fn recent(now: Instant) -> Option<Freeze> {
    PULSE.sign(now)
}

/// Waits for as long as nothing is to be begun after a freeze.
pub(crate) async fn settle() {
    if let Some(freeze) = recent(Instant::now()) {
        tokio::time::sleep_until(freeze.settled()).await;
    }
}

/// A time in which the process did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freeze {
    /// The last moment at which it is known to have run before.
    pub(crate) began: Instant,
    /// The first moment at which it is known to have run again.
    pub(crate) ended: Instant,
}

impl Freeze {
    /// Until when nothing is to be begun.
    pub(crate) fn settled(&self) -> Instant {
        self.ended + SETTLING
    }
}

/// Signs of life. Times are in microseconds since the origin.
struct Pulse {
    origin: Instant,
    /// How many show that the process runs; a gap while nobody does is no freeze.
    beating: AtomicUsize,
    last: AtomicU64,
    /// The last freeze; both 0 before the first.
    began: AtomicU64,
    ended: AtomicU64,
}

impl Pulse {
    fn new(origin: Instant) -> Self {
        Self {
            origin,
            beating: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            began: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// Notes that the process runs, and returns the freeze that ended a moment ago, if one did. Whoever looks first after a
    /// freeze finds it.
    fn sign(&self, now: Instant) -> Option<Freeze> {
        let now = self.micros(now);
        let last = self.last.load(Ordering::Acquire);
        let gap = Duration::from_micros(now.saturating_sub(last));
        if self.beating.load(Ordering::Relaxed) > 0 && gap >= BEAT / 10 {
            if gap >= GAP {
                self.began.store(last, Ordering::Relaxed);
                self.ended.store(now, Ordering::Relaxed);
            }
            // Others see the freeze before they see that it is over.
            self.last.fetch_max(now, Ordering::Release);
        }
        let ended = self.ended.load(Ordering::Relaxed);
        let since = Duration::from_micros(now.saturating_sub(ended));
        (ended > 0 && since < AFTERMATH).then(|| Freeze {
            began: self.instant(self.began.load(Ordering::Relaxed)),
            ended: self.instant(ended),
        })
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX)
    }

    fn instant(&self, micros: u64) -> Instant {
        self.origin + Duration::from_micros(micros)
    }
}

/// Somebody who shows that the process runs.
struct Beating<'a>(&'a Pulse);

impl<'a> Beating<'a> {
    fn begin(pulse: &'a Pulse, now: Instant) -> Self {
        if pulse.beating.load(Ordering::Relaxed) == 0 {
            pulse.last.fetch_max(pulse.micros(now), Ordering::Release);
        }
        pulse.beating.fetch_add(1, Ordering::Relaxed);
        Self(pulse)
    }
}

impl Drop for Beating<'_> {
    fn drop(&mut self) {
        self.0.beating.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_looks_first_after_a_freeze_finds_it_and_so_do_others() {
        let start = Instant::now();
        let pulse = Pulse::new(start);
        let _beating = Beating::begin(&pulse, start);
        assert_eq!(pulse.sign(start + BEAT), None);
        let thaw = start + BEAT + 10 * SECOND;
        let freeze = pulse.sign(thaw).unwrap();
        assert_eq!((freeze.began, freeze.ended), (start + BEAT, thaw));
        assert_eq!(pulse.sign(thaw + AFTERMATH / 2), Some(freeze));
        assert_eq!(pulse.sign(thaw + AFTERMATH), None);
    }

    #[test]
    fn a_little_delay_is_no_freeze() {
        let start = Instant::now();
        let pulse = Pulse::new(start);
        let _beating = Beating::begin(&pulse, start);
        assert_eq!(pulse.sign(start + GAP / 2), None);
        assert_eq!(pulse.sign(start + GAP), None, "counted from the last sign");
    }

    #[test]
    fn a_process_in_which_nobody_beats_is_not_frozen() {
        let start = Instant::now();
        let pulse = Pulse::new(start);
        assert_eq!(pulse.sign(start + 10 * SECOND), None);
        let beating = Beating::begin(&pulse, start + 20 * SECOND);
        assert_eq!(pulse.sign(start + 20 * SECOND), None);
        drop(beating);
        assert_eq!(pulse.sign(start + 30 * SECOND), None);
    }
}
