//! Events that may be an attack, under stable names for alerts: in the log, and counted.

use crate::telemetry::{Burst, catalogue};

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
        static BURSTS: [Burst; 5] = [const { Burst::new() }; 5];
        self.count();
        BURSTS[self as usize].may_log()
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
