//! How long each measurement lasts.

use crate::drive::Window;
use std::time::{Duration, Instant};

/// The share of a measurement that passes before anything is counted.
const WARM_UP: f64 = 0.2;

/// A shorter measurement tells little: there are rather fewer rounds.
const SHORTEST: Duration = Duration::from_millis(400);

/// What is expected to pass around a measurement, before anything is known about it.
const FIRST_GUESS: Duration = Duration::from_millis(200);

/// The least time that is kept for the end: checking the books, and stopping.
const END: Duration = Duration::from_secs(2);

/// Tells how long each measurement lasts.
#[derive(Debug)]
pub(super) enum Pacer {
    /// Always as long.
    Fixed(Window),
    /// Such that all of them end in time.
    Within {
        /// When the last one has to end.
        ends: Instant,
        /// How many are left.
        left: u32,
        /// How many there are in a round.
        round: u32,
        /// What passed around those so far.
        around: Duration,
        /// How many that were.
        done: u32,
    },
}

impl Pacer {
    /// Measurements of this length.
    pub(super) fn fixed(length: Duration) -> Self {
        Self::Fixed(Window { warm_up: length.mul_f64(WARM_UP * 1.5), length })
    }

    /// Measurements that all end in time. Setting up took so long, which tells how busy the machine is.
    pub(super) fn within(ends: Instant, set_up: Duration, rounds: u32, slots: usize) -> Self {
        let end = END.max(set_up.mul_f64(0.2));
        let round = u32::try_from(slots).unwrap_or(u32::MAX).max(1);
        let left = round.saturating_mul(rounds);
        let ends = ends.checked_sub(end).unwrap_or(ends);
        Self::Within { ends, left, round, around: FIRST_GUESS, done: 1 }
    }

    /// The next measurement; none if there is no time left for it and it could be done without.
    pub(super) fn window(&mut self, must: bool) -> Option<Window> {
        match self {
            Self::Fixed(window) => Some(*window),
            Self::Within { left: 0, .. } => None,
            Self::Within { ends, left, round, around, done } => {
                let time = ends.saturating_duration_since(Instant::now());
                let share = |left: u32| (time / left).saturating_sub(*around / *done);
                if share(*left) < SHORTEST {
                    *left = (*left - 1) % *round + 1; // this round is the last
                }
                let share = share(*left);
                if share < SHORTEST && !must {
                    return None;
                }
                let share = share.max(SHORTEST);
                let warm_up = share.mul_f64(WARM_UP);
                Some(Window { warm_up, length: share - warm_up })
            }
        }
    }

    /// Notes how long a measurement took with all that is around it.
    pub(super) fn took(&mut self, all: Duration, window: Window) {
        if let Self::Within { left, around, done, .. } = self {
            *around += all.saturating_sub(window.warm_up + window.length);
            *done += 1;
            *left = left.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_shared_among_all_measurements() {
        let ends = Instant::now() + Duration::from_secs(42);
        let mut pacer = Pacer::within(ends, Duration::from_secs(10), 2, 10);
        let window = pacer.window(true).unwrap();
        let whole = (window.warm_up + window.length).as_secs_f64();
        assert!((whole - (40.0 / 20.0 - 0.2)).abs() < 0.05, "{whole}");
    }

    #[test]
    fn the_first_round_is_measured_though_time_is_up() {
        let mut pacer = Pacer::within(Instant::now(), Duration::ZERO, 1, 10);
        assert!(pacer.window(false).is_none());
        let window = pacer.window(true).unwrap();
        assert_eq!(window.warm_up + window.length, SHORTEST);
    }

    #[test]
    fn there_are_fewer_rounds_where_time_is_short() {
        let ends = Instant::now() + Duration::from_secs(8);
        let mut pacer = Pacer::within(ends, Duration::ZERO, 3, 5);
        for _ in 0..5 {
            let window = pacer.window(true).unwrap();
            assert!(window.length > SHORTEST, "{window:?}");
            pacer.took(window.warm_up + window.length, window);
        }
        assert!(pacer.window(false).is_none());
    }

    #[test]
    fn what_passes_around_measurements_is_learnt() {
        let ends = Instant::now() + Duration::from_secs(102);
        let mut pacer = Pacer::within(ends, Duration::ZERO, 1, 100);
        let before = pacer.window(true).unwrap();
        pacer.took(before.warm_up + before.length + Duration::from_secs(1), before);
        let after = pacer.window(true).unwrap();
        assert!(after.length < before.length, "{after:?}");
    }
}
