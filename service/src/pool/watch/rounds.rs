//! When watched devices are read.

use super::Watches;
use crate::{pool::Inner, store::DeviceKey};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How often all watched devices are read, which tells what other replicas changed; and how often at most those that this
/// replica changed are.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many devices one statement reads.
const DEVICES: usize = 1000;

/// Follows watched devices until the pool is gone or its watches are closed.
pub(in crate::pool) fn follow(inner: &Arc<Inner>) -> impl Future<Output = ()> + Send + 'static {
    let mut rounds = Rounds::of(inner.watches.clone());
    let inner = Arc::downgrade(inner);
    async move {
        // The pool is not kept alive while a round is waited for, which is a second at most.
        while let Some(round) = rounds.next().await {
            let Some(inner) = inner.upgrade() else { return };
            for devices in round.devices.chunks(DEVICES) {
                if let Err(error) = inner.look_at(devices).await {
                    tracing::debug!(%error, "could not read watched pools; will try again");
                }
            }
            rounds.ended(&round, Instant::now());
        }
    }
}

/// Paces readings: a device is read at most twice a second, however often it changes, and reading takes at most half of the
/// time, however long it takes.
struct Rounds {
    watches: Arc<Watches>,
    next_of_all: Instant,
    next_of_touched: Instant,
}

/// One reading of devices.
struct Round {
    devices: Vec<DeviceKey>,
    of_all: bool,
    began: Instant,
}

impl Rounds {
    fn of(watches: Arc<Watches>) -> Self {
        let now = Instant::now();
        Self { watches, next_of_all: now, next_of_touched: now }
    }

    /// Waits for the next reading. None once watches are closed.
    async fn next(&mut self) -> Option<Round> {
        let touched = async {
            self.watches.wake.notified().await;
            sleep_until(self.next_of_touched).await;
        };
        let of_all = tokio::select! {
            biased;
            () = sleep_until(self.next_of_all) => true,
            () = touched => false,
        };
        if self.watches.is_closed() {
            return None;
        }
        let devices = if of_all { self.watches.take_all() } else { self.watches.take_touched() };
        Some(Round { devices, of_all, began: Instant::now() })
    }

    /// A reading has ended: the next one of its kind begins a second after it began, and none before as much time has
    /// passed as it took.
    fn ended(&mut self, round: &Round, now: Instant) {
        let own = if round.of_all { &mut self.next_of_all } else { &mut self.next_of_touched };
        *own = round.began + INTERVAL;
        let rested = now + (now - round.began);
        for next in [&mut self.next_of_all, &mut self.next_of_touched] {
            *next = rested.max(*next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DeviceId, UserId};
    use tokio::time::sleep;

    fn device(user: usize) -> DeviceKey {
        let user = UserId::new(&format!("user-{user}")).unwrap();
        DeviceKey::new(user, DeviceId::new("phone").unwrap())
    }

    /// Reads for ten seconds, each reading taking so long, while a device of 500 changes 1,000 times. Returns how often
    /// all devices were read, and how often some.
    async fn ten_seconds(taking: Duration) -> (usize, usize) {
        let watches = Arc::new(Watches::new(500));
        let _watched: Vec<_> =
            (0..500).map(|n| Watches::subscribe(&watches, device(n)).unwrap()).collect();
        let mut rounds = Rounds::of(watches.clone());
        tokio::spawn(async move {
            for _ in 0..1000 {
                watches.touch(&device(7));
                sleep(Duration::from_millis(10)).await;
            }
        });
        let end = Instant::now() + Duration::from_secs(10);
        let (mut of_all, mut of_one) = (0, 0);
        while Instant::now() < end {
            let round = rounds.next().await.unwrap();
            sleep(taking).await;
            match round.devices.len() {
                500 => of_all += 1,
                1 => of_one += 1,
                other => panic!("{other} devices were read"),
            }
            rounds.ended(&round, Instant::now());
        }
        (of_all, of_one)
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_changes_all_the_time_is_read_once_a_second_and_with_the_others() {
        let (of_all, of_one) = ten_seconds(Duration::from_millis(1)).await;
        assert!((9..=11).contains(&of_all), "{of_all} readings of all in ten seconds");
        assert!((9..=11).contains(&of_one), "{of_one} readings of one in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_readings_are_not_back_to_back() {
        let (of_all, of_one) = ten_seconds(Duration::from_secs(2)).await;
        assert!(of_all <= 3 && of_one <= 3, "{of_all} of all, {of_one} of one in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_change_after_a_while_is_read_at_once() {
        let watches = Arc::new(Watches::new(1));
        let _watch = Watches::subscribe(&watches, device(1)).unwrap();
        let mut rounds = Rounds::of(watches.clone());
        let round = rounds.next().await.unwrap();
        rounds.ended(&round, Instant::now());
        let now = Instant::now();
        watches.touch(&device(1));
        assert_eq!(rounds.next().await.unwrap().devices, [device(1)]);
        assert_eq!(now.elapsed(), Duration::ZERO);
    }
}
