use super::{Clock, Reading, SystemClock};
use jiff::Timestamp;
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

/// How fast the clocks of this machine and of the database may drift apart: 200 ppm, one part in this many. Quartz and what
/// NTP corrects stay well below.
const DRIFT: i64 = 5_000;

/// The database's clock, as it was read last, carried on by this machine's monotonic clock.
///
/// Setting the machine's wall clock changes nothing. Until the first [reading](Clock::note) it shows the machine's time.
#[derive(Debug)]
pub struct DatabaseClock<M = SystemClock> {
    machine: M,
    /// Where this clock's monotonic time begins.
    origin: Instant,
    /// The database's time at the origin, in nanoseconds since 1970: all that [`Clock::now`] reads.
    time_at_origin: AtomicI64,
    best: Mutex<Option<Estimate>>,
}

/// What one reading says, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    /// The database's time at the origin.
    time_at_origin: i64,
    /// How far off that may be.
    uncertainty: i64,
    /// When it was read, since the origin.
    read_at: i64,
}

impl Estimate {
    /// Whether this one, which is newer, takes the other's place: because it is at least as certain as the other is by now, or
    /// because both can't be true. Then the clock was set, or another database has taken over.
    fn replaces(&self, other: &Self) -> bool {
        let age = self.read_at.saturating_sub(other.read_at).max(0);
        let uncertainty = other.uncertainty.saturating_add(age / DRIFT);
        let apart = self.time_at_origin.saturating_sub(other.time_at_origin).saturating_abs();
        self.uncertainty <= uncertainty || apart > uncertainty.saturating_add(self.uncertainty)
    }
}

impl<M: Clock> DatabaseClock<M> {
    /// A clock that has read nothing yet, on a machine with this clock.
    pub fn on(machine: M) -> Self {
        let time_at_origin = AtomicI64::new(nanoseconds(machine.now()));
        Self { machine, origin: Instant::now(), time_at_origin, best: Mutex::default() }
    }

    fn at(&self, instant: Instant) -> Timestamp {
        let time = self.time_at_origin.load(Ordering::Relaxed).saturating_add(self.since(instant));
        Timestamp::from_nanosecond(time.into()).unwrap_or(Timestamp::MAX)
    }

    /// The nanoseconds from the origin to an instant.
    fn since(&self, instant: Instant) -> i64 {
        span(instant.saturating_duration_since(self.origin))
            .saturating_sub(span(self.origin.saturating_duration_since(instant)))
    }

    fn best(&self) -> MutexGuard<'_, Option<Estimate>> {
        // Every change is one assignment: a panic leaves nothing half done.
        self.best.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for DatabaseClock {
    fn default() -> Self {
        Self::on(SystemClock)
    }
}

impl<M: Clock> Clock for DatabaseClock<M> {
    fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    fn machine(&self) -> Timestamp {
        self.machine.now()
    }

    fn note(&self, reading: &Reading) {
        let uncertainty = span(reading.uncertainty());
        let read_at = self.since(reading.moment());
        let time_at_origin = nanoseconds(reading.time).saturating_sub(read_at);
        let estimate = Estimate { time_at_origin, uncertainty, read_at };
        let mut best = self.best();
        if best.is_none_or(|best| estimate.replaces(&best)) {
            *best = Some(estimate);
            self.time_at_origin.store(time_at_origin, Ordering::Relaxed);
        }
    }
}

fn nanoseconds(time: Timestamp) -> i64 {
    // Until the year 2262.
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

fn span(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLI: Duration = Duration::from_millis(1);

    /// A machine whose clock is so far from the true time.
    #[derive(Debug)]
    struct Off(SignedDuration);

    impl Clock for Off {
        fn now(&self) -> Timestamp {
            TRUE + self.0
        }
    }

    /// The true time at the clock's origin.
    const TRUE: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn clock_off_by(off: SignedDuration) -> DatabaseClock<Off> {
        DatabaseClock::on(Off(off))
    }

    /// Reads a database's clock that is so far ahead of the true time: question and answer are so long under way.
    fn read(clock: &DatabaseClock<Off>, at: Duration, trip: [Duration; 2], ahead: SignedDuration) {
        let asked = clock.origin + at;
        let time = TRUE + at + trip[0] + ahead;
        clock.note(&Reading { time, asked, answered: asked + trip[0] + trip[1] });
    }

    /// How far the clock is from the true time then.
    fn error(clock: &DatabaseClock<Off>, at: Duration) -> SignedDuration {
        clock.at(clock.origin + at).duration_since(TRUE + at)
    }

    fn millis(millis: i64) -> SignedDuration {
        SignedDuration::from_millis(millis)
    }

    #[test]
    fn before_a_reading_it_shows_the_machines_time() {
        let clock = clock_off_by(millis(1500));
        assert_eq!(error(&clock, SECOND), millis(1500));
        assert_eq!(clock.machine(), TRUE + millis(1500));
    }

    #[test]
    fn a_reading_sets_it_right_whatever_the_machine_says() {
        for off in [-3_600_000, -1500, 0, 1500, 3_600_000] {
            let clock = clock_off_by(millis(off));
            read(&clock, SECOND, [MILLI, MILLI], SignedDuration::ZERO);
            assert_eq!(error(&clock, SECOND * 60), SignedDuration::ZERO, "{off}");
            assert_eq!(clock.machine(), TRUE + millis(off), "the machine stays as it is");
        }
    }

    #[test]
    fn it_is_off_by_half_the_round_trip_at_most() {
        for trip in [[100, 0], [0, 100], [30, 70]] {
            let clock = clock_off_by(millis(1500));
            let [question, answer] = trip.map(Duration::from_millis);
            read(&clock, SECOND, [question, answer], SignedDuration::ZERO);
            assert!(error(&clock, SECOND).abs() <= millis(50), "{trip:?}");
        }
    }

    #[test]
    fn of_noisy_readings_the_most_certain_counts() {
        let clock = clock_off_by(SignedDuration::ZERO);
        read(&clock, SECOND, [MILLI * 400, MILLI * 900], SignedDuration::ZERO);
        assert_eq!(error(&clock, SECOND), millis(-250));
        read(&clock, SECOND * 2, [MILLI, MILLI], SignedDuration::ZERO);
        assert_eq!(error(&clock, SECOND * 2), millis(0));
        for n in 3..40 {
            read(&clock, SECOND * n, [MILLI * 20, MILLI * (n % 7)], SignedDuration::ZERO);
        }
        assert_eq!(error(&clock, SECOND * 40), millis(0), "the others are less certain");
    }

    #[test]
    fn an_old_reading_grows_less_certain() {
        let clock = clock_off_by(SignedDuration::ZERO);
        read(&clock, Duration::ZERO, [MILLI, MILLI], SignedDuration::ZERO);
        // 100 ppm: after 50 s the database's clock is 5 ms ahead, and the first reading may be off by 10.
        read(&clock, SECOND * 10, [MILLI * 8, MILLI * 8], millis(1));
        assert_eq!(error(&clock, SECOND * 10), millis(0));
        read(&clock, SECOND * 50, [MILLI * 8, MILLI * 8], millis(5));
        assert_eq!(error(&clock, SECOND * 50), millis(5));
    }

    #[test]
    fn it_follows_a_clock_that_drifts() {
        let clock = clock_off_by(SignedDuration::ZERO);
        for half_second in 0..10_000_u32 {
            let ahead = SignedDuration::from_micros(100) * half_second.cast_signed() / 2;
            read(&clock, SECOND * half_second / 2, [MILLI / 4, MILLI / 4], ahead);
            let off = error(&clock, SECOND * half_second / 2) - ahead;
            assert!(off.abs() <= millis(1), "{half_second}: {off}");
        }
    }

    #[test]
    fn it_follows_a_clock_that_is_set() {
        for step in [-5000, -40, 40, 5000] {
            let clock = clock_off_by(SignedDuration::ZERO);
            read(&clock, SECOND, [MILLI, MILLI], SignedDuration::ZERO);
            read(&clock, SECOND * 2, [MILLI * 10, MILLI * 10], millis(step));
            assert_eq!(error(&clock, SECOND * 3), millis(step), "less certain, but it contradicts");
        }
    }

    #[test]
    fn a_reading_that_comes_late_is_as_good_as_when_it_was_made() {
        let clock = clock_off_by(SignedDuration::ZERO);
        read(&clock, SECOND * 10, [MILLI, MILLI], SignedDuration::ZERO);
        read(&clock, SECOND * 9, [MILLI * 3, MILLI], SignedDuration::ZERO);
        assert_eq!(error(&clock, SECOND * 11), millis(0));
    }
}
