//! Counters of what should not happen, or seldom. They begin at 0: Prometheus sees no increase in a series whose first value is 1.

use super::{
    Counter,
    catalogue::{
        HANDED_OUT, HOLDS, JWKS_REFRESHES, LANE_REFUSED, SECURITY_EVENTS, SWEEPS, TLS_RELOADS,
    },
};

/// Lets them begin.
pub(crate) fn begin() {
    let each = |counter: &Counter<1>, values: &[&'static str]| {
        values.iter().for_each(|value| counter.with([value]).increment(0));
    };
    each(&HANDED_OUT, &["one_time", "last_resort"]);
    each(&LANE_REFUSED, &["upload", "reserve", "hold"]);
    each(&SWEEPS, &["ok", "failed", "skipped"]);
    each(&SECURITY_EVENTS, &["double_spend_refused", "foreign_reservation_refused"]);
    each(&TLS_RELOADS, &["ok", "failed"]);
    each(&JWKS_REFRESHES, &["ok", "failed"]);
    for outcome in ["RESERVATION_LOST", "KEY_PACKAGE_ALREADY_SPENT"] {
        HOLDS.with(["spend", outcome]).increment(0);
    }
}
