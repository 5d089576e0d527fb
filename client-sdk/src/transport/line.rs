//! The connection to one replica.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint, Error};

use super::Dial;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A channel, and another one in its place when it says nothing any more: a peer that went without
/// a word leaves a connection that looks well for as long as nobody pings it.
#[derive(Debug)]
pub(super) struct Line {
    /// How to connect anew. An application's own channel it has to look after itself.
    dial: Option<(Dial, Endpoint)>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    channel: Channel,
    since: Instant,
    heard: Option<Instant>,
    /// How many channels in a row have said nothing.
    silent: u32,
}

impl Line {
    pub(super) fn over(channel: Channel) -> Self {
        Self::with(None, channel)
    }

    pub(super) fn to(endpoint: Endpoint, dial: Dial) -> Self {
        let channel = dial.channel(endpoint.clone());
        Self::with(Some((dial, endpoint)), channel)
    }

    /// Connects at once.
    pub(super) async fn now(endpoint: Endpoint, dial: Dial) -> Result<Self, Error> {
        let channel = endpoint.connect().await?;
        Ok(Self::with(Some((dial, endpoint)), channel))
    }

    fn with(dial: Option<(Dial, Endpoint)>, channel: Channel) -> Self {
        let current = Current { channel, since: Instant::now(), heard: None, silent: 0 };
        Self { dial, current: Mutex::new(current) }
    }

    pub(super) fn channel(&self) -> Channel {
        self.current().channel.clone()
    }

    /// There was an answer.
    pub(super) fn heard(&self, now: Instant) {
        let mut current = self.current();
        current.heard = Some(now);
        current.silent = 0;
    }

    /// There was no answer to a call that began then. If there was none to others either, the next
    /// calls have a new channel: at once the first time, then after longer pauses, as a service that
    /// is too slow to answer would only get slower by new connections.
    pub(super) fn silent(&self, began: Instant, now: Instant) {
        let Some((dial, endpoint)) = &self.dial else { return };
        let mut current = self.current();
        let heard = current.heard.is_some_and(|heard| heard >= began);
        if !heard && began >= current.since + pause(current.silent) {
            tracing::debug!(endpoint = %endpoint.uri(), "nothing is heard: connecting anew");
            current.channel = dial.channel(endpoint.clone());
            current.since = now;
            current.silent += 1;
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause(silent: u32) -> Duration {
    match silent.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_PAUSE.saturating_mul(1 << doublings.min(5)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A line, and how often it was dialled.
    fn line() -> (Line, Arc<AtomicUsize>) {
        let dialled = Arc::new(AtomicUsize::new(0));
        let count = dialled.clone();
        let dial = Dial::with(move |endpoint| {
            count.fetch_add(1, Ordering::Relaxed);
            endpoint.connect_lazy()
        });
        (Line::to(Endpoint::from_static("http://[::1]:1"), dial), dialled)
    }

    #[tokio::test]
    async fn a_silent_line_is_dialled_anew_with_longer_pauses() {
        let (line, dialled) = line();
        let mut now = Instant::now();
        for (count, seconds) in [0, 1, 2, 4, 8, 16, 30, 30].into_iter().enumerate() {
            let pause = Duration::from_secs(seconds);
            if seconds > 0 {
                line.silent(now + pause - Duration::from_millis(1), now + pause);
            }
            assert_eq!(dialled.load(Ordering::Relaxed), count + 1);
            now += pause;
            line.silent(now, now);
            assert_eq!(dialled.load(Ordering::Relaxed), count + 2);
        }
        line.heard(now);
        line.silent(now + FIRST_PAUSE / 2, now + FIRST_PAUSE);
        assert_eq!(dialled.load(Ordering::Relaxed), 10, "as at first");
    }

    #[tokio::test]
    async fn a_line_where_another_call_was_answered_is_kept() {
        let (line, dialled) = line();
        let began = Instant::now();
        line.heard(began + Duration::from_millis(1));
        line.silent(began, began + Duration::from_secs(1));
        assert_eq!(dialled.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn calls_that_began_on_the_old_channel_say_nothing_of_the_new_one() {
        let (line, dialled) = line();
        let began = Instant::now();
        let end = began + Duration::from_secs(5);
        for _ in 0..3 {
            line.silent(began, end);
        }
        assert_eq!(dialled.load(Ordering::Relaxed), 2);
    }
}
