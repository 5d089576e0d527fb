//! What callers cause at will must not fill a disk: of many lines of a kind only the first in each second are written.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many lines of a kind are written in [`WINDOW`].
const LINES: u32 = 100;

/// See [`LINES`].
const WINDOW: Duration = Duration::from_secs(1);

/// The lines of one kind in the latest second in which there was one.
#[derive(Debug, Default)]
pub(crate) struct Burst(Mutex<Option<(Instant, u32)>>);

impl Burst {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Notes one more line, and says whether to write it.
    pub(crate) fn may_log(&self) -> bool {
        self.may_log_at(Instant::now())
    }

    /// The same at a time.
    pub(crate) fn may_log_at(&self, now: Instant) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *window {
            Some((start, lines)) if now.duration_since(*start) < WINDOW => {
                *lines = lines.saturating_add(1);
                *lines <= LINES
            }
            _ => {
                *window = Some((now, 1));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_not_logged_in_full() {
        let (start, burst) = (Instant::now(), Burst::new());
        let logged = (0..1000).filter(|_| burst.may_log_at(start)).count();
        assert_eq!(logged, 100);
        assert!(burst.may_log_at(start + WINDOW));
    }
}
