//! Events that may be an attack, under stable names for alerts: in the log, and counted.

use metrics::counter;

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

    /// Counts it. Callers cause events at will, so what must be complete is a number.
    pub fn count(self) {
        counter!("keypool_security_events_total", "event" => self.name()).increment(1);
    }
}

/// Counts an event and logs it, with fields, at the target `keypool::security`.
macro_rules! event {
    ($event:expr, $($fields:tt)*) => {{
        let event: $crate::security::Event = $event;
        event.count();
        tracing::warn!(target: "keypool::security", event = event.name(), $($fields)*);
    }};
}
pub(crate) use event;
