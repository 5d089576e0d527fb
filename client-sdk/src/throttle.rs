//! Keeps a client from asking an overloaded service over and over: what the service has to refuse takes
//! from what it could serve, and tries that are repeated would multiply it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::Error;

/// What a refusal takes from the share of calls that is sent.
const REFUSED: f64 = 0.02;

/// What an answer adds to it: half of that, so that about a third of what is sent is refused.
const ANSWERED: f64 = 0.01;

/// What is kept back becomes half as much in this time, whatever is heard: who calls rarely is not
/// kept from finding out that the service is well again.
const HALF_LIFE: Duration = Duration::from_secs(3);

/// Kept back is less than one call in a thousand.
const NEARLY_ALL: f64 = 0.999;

/// The methods of which the service refused calls as overloaded of late. Shared by all calls of a
/// client; each method counts for itself, because their calls wait in queues of their own.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    methods: Mutex<HashMap<&'static str, Share>>,
}

impl Throttle {
    /// Whether the next call of this method is to be sent.
    pub(crate) fn admits(&self, method: &'static str, now: Instant) -> bool {
        let mut methods = self.methods();
        let Some(share) = methods.get_mut(method) else { return true };
        share.recover(now);
        if share.sent > NEARLY_ALL {
            methods.remove(method);
            return true;
        }
        share.admits()
    }

    /// Learns from what became of a call.
    pub(crate) fn heard(&self, method: &'static str, error: Option<&Error>, now: Instant) {
        let mut methods = self.methods();
        match error {
            Some(Error::Overloaded(_)) => {
                methods.entry(method).or_insert_with(|| Share::all(now)).refused(now);
            }
            // Nobody was asked, or nobody answered.
            Some(
                Error::Unavailable(_)
                | Error::DeadlineExceeded(_)
                | Error::Transport(_)
                | Error::Token(_),
            ) => {}
            Some(_) | None => {
                if let Some(share) = methods.get_mut(method) {
                    share.answered(now);
                }
            }
        }
    }

    fn methods(&self) -> MutexGuard<'_, HashMap<&'static str, Share>> {
        self.methods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How large a share of the calls is sent, evenly among those that are kept back.
#[derive(Debug)]
struct Share {
    /// From 0 to 1.
    sent: f64,
    /// What is left of the shares of earlier calls; a whole one is a call.
    left: f64,
    since: Instant,
}

impl Share {
    fn all(now: Instant) -> Self {
        Self { sent: 1.0, left: 0.0, since: now }
    }

    fn admits(&mut self) -> bool {
        self.left += self.sent;
        let admits = self.left >= 1.0;
        if admits {
            self.left -= 1.0;
        }
        admits
    }

    fn refused(&mut self, now: Instant) {
        self.recover(now);
        self.sent *= 1.0 - REFUSED;
    }

    fn answered(&mut self, now: Instant) {
        self.recover(now);
        self.sent = (self.sent * (1.0 + ANSWERED)).min(1.0);
    }

    fn recover(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        let kept = (1.0 - self.sent) * 0.5_f64.powf(passed.div_duration_f64(HALF_LIFE));
        self.sent = 1.0 - kept;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::Failure;

    const METHOD: &str = "ReserveKeyPackages";

    /// A service that does so many calls a second, and clients that make so many, in steps of a
    /// millisecond, for some seconds. Returns how many were sent and done in the last second.
    fn run(throttle: &Throttle, start: Instant, made: u32, done: u32, seconds: u32) -> (u32, u32) {
        let overloaded = Error::Overloaded(Box::new(Failure::new(Code::Unavailable, "too much")));
        let (mut counts, mut called, mut room) = ((0, 0), 0, 0);
        for milli in 0..1000 * seconds {
            let now = start + Duration::from_millis(milli.into());
            if milli % 1000 == 0 {
                counts = (0, 0);
            }
            room = (room + done).min(1000 + done);
            called += made;
            while called >= 1000 {
                called -= 1000;
                if !throttle.admits(METHOD, now) {
                    continue;
                }
                counts.0 += 1;
                let has_room = room >= 1000;
                if has_room {
                    room -= 1000;
                    counts.1 += 1;
                }
                throttle.heard(METHOD, (!has_room).then_some(&overloaded), now);
            }
        }
        counts
    }

    #[test]
    fn a_service_with_room_gets_every_call() {
        let (sent, done) = run(&Throttle::default(), Instant::now(), 1000, 1000, 3);
        assert_eq!((sent, done), (1000, 1000));
    }

    #[test]
    fn an_overloaded_service_gets_little_more_than_it_can_do() {
        for times in [3, 10, 30] {
            let (sent, done) = run(&Throttle::default(), Instant::now(), times * 1000, 1000, 5);
            assert!(done > 990, "{done} at {times} times of what it can do");
            assert!((1300..1800).contains(&sent), "{sent} at {times} times of what it can do");
        }
    }

    #[test]
    fn a_service_that_is_well_again_gets_every_call_within_seconds() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let (sent, done) = run(&throttle, start, 1000, 0, 60);
        assert!(done == 0 && sent < 150, "{sent} sent to a service that does nothing");
        let (sent, _) = run(&throttle, start + Duration::from_secs(60), 1000, 1000, 5);
        assert!(sent > 950, "{sent} of 1,000 sent to a service that is well again");
    }

    #[test]
    fn who_calls_rarely_is_hardly_kept_back() {
        let (sent, _) = run(&Throttle::default(), Instant::now(), 5, 0, 60);
        assert!(sent >= 3, "{sent} of 5");
    }

    #[test]
    fn each_method_counts_for_itself() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        run(&throttle, start, 10_000, 0, 1);
        let end = start + Duration::from_secs(1);
        assert!((0..100).any(|_| !throttle.admits(METHOD, end)));
        assert!((0..100).all(|_| throttle.admits("SpendReservation", end)));
    }

    #[test]
    fn other_errors_say_nothing_of_overload() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let unavailable = Error::Unavailable(Box::new(Failure::new(Code::Unavailable, "gone")));
        for _ in 0..1000 {
            throttle.heard(METHOD, Some(&unavailable), now);
            assert!(throttle.admits(METHOD, now));
        }
    }
}
