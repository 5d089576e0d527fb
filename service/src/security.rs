//! Events that may be an attack, under stable names for alerts: in the log, and counted.

use crate::telemetry::catalogue;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many events of a kind are logged in [`WINDOW`]. The others are counted only: callers cause them at will, and must not
/// fill a disk.
const LOGGED: u32 = 100;

/// See [`LOGGED`].
const WINDOW: Duration = Duration::from_secs(1);

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A caller did not prove who it is.
    AuthenticationRefused,
    /// A caller may not do what it asked for.
    PermissionDenied,
    /// A package that is spent was to be spent again, by another reservation.
    DoubleSpendRefused,
    /// A reservation of somebody else was to be used.
    ForeignReservationRefused,
    /// A limit was hit.
    RateLimited,
}

impl Event {
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
    pub(crate) fn count_and_log(self) -> bool {
        static LOGS: [Mutex<Option<(Instant, u32)>>; 5] = [const { Mutex::new(None) }; 5];
        self.count();
        let mut log = LOGS[self as usize].lock().unwrap_or_else(PoisonError::into_inner);
        within_window(&mut log, Instant::now())
    }
}

/// Notes one more event in its window, or in a new one, and says whether it is among the first of it.
fn within_window(window: &mut Option<(Instant, u32)>, now: Instant) -> bool {
    match window {
        Some((start, logged)) if now.duration_since(*start) < WINDOW => {
            *logged = logged.saturating_add(1);
            *logged <= LOGGED
        }
        _ => {
            *window = Some((now, 1));
            true
        }
    }
}

/// Counts an event and logs it, with fields, at the target `keypool::security`; of many in a second only the first.
macro_rules! event {
    ($event:expr, $($fields:tt)*) => {{
        let event: $crate::security::Event = $event;
        if event.count_and_log() {
            tracing::warn!(target: "keypool::security", event = event.name(), $($fields)*);
        }
    }};
}
pub(crate) use event;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_not_logged_in_full() {
        let start = Instant::now();
        let mut window = None;
        let logged = (0..1000).filter(|_| within_window(&mut window, start)).count();
        assert_eq!(logged, 100);
        assert!(within_window(&mut window, start + WINDOW));
    }
}
