use super::{Clock, DatabaseClock, Reading, SystemClock};
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};

/// A clock for tests that moves when it is told to: the world's time, for every service that has a clone or a
/// [fellow](Self::fellow).
#[derive(Debug, Clone)]
pub struct ShiftedClock {
    clock: Arc<dyn Clock>,
    shift: Arc<Mutex<SignedDuration>>,
}

impl ShiftedClock {
    /// Moves the time of every clone and fellow forward, or back if negative.
    pub fn advance(&self, by: SignedDuration) {
        let mut shift = self.shift.lock().unwrap_or_else(PoisonError::into_inner);
        *shift += by;
    }

    /// The clock of another machine in the same world, whose wall clock is so far ahead.
    #[must_use]
    pub fn fellow(&self, ahead: SignedDuration) -> Self {
        let machine = Self { clock: Arc::new(SystemClock), shift: Arc::new(Mutex::new(ahead)) };
        Self { clock: Arc::new(DatabaseClock::on(machine)), shift: self.shift.clone() }
    }

    fn shift(&self) -> SignedDuration {
        *self.shift.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ShiftedClock {
    fn default() -> Self {
        Self { clock: Arc::new(DatabaseClock::default()), shift: Arc::default() }
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        self.clock.now() + self.shift()
    }

    fn machine(&self) -> Timestamp {
        self.clock.machine() + self.shift()
    }

    fn note(&self, reading: &Reading) {
        self.clock.note(reading);
    }
}
