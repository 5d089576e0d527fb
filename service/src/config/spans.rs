//! Bounds of the configured spans, each with what needs it. docs/decisions/0032-spans.md has the same table.

use super::Config;
use jiff::SignedDuration;

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
const TEN_YEARS: SignedDuration = SignedDuration::from_hours(24 * 3660);

/// The shortest hold: one that is shorter would be over when its answer arrives.
const SHORTEST_HOLD: SignedDuration = SignedDuration::from_millis(10);

/// How long a tombstone must outlive its package: a statement of an upload may take 12 s from the moment that it took for now,
/// and clocks may be set by [`MAX_SKEW`](crate::clock::MAX_SKEW) and back meanwhile.
const SHORTEST_TOMBSTONE: SignedDuration = SignedDuration::from_secs(30);

/// How long a spent package must keep its bytes: the sweep that empties it must not come before its spend is committed, which takes
/// as long at most as the statement above.
const SHORTEST_SPENT: SignedDuration = SHORTEST_TOMBSTONE;

/// How long the database's row security keeps entries of the spend log (migrations/V3__rights.sql).
const SHORTEST_LOG: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A configured span, and what it may be.
struct Span {
    setting: &'static str,
    value: SignedDuration,
    least: SignedDuration,
    most: SignedDuration,
    /// What else would break.
    why: &'static str,
}

impl Span {
    /// What to say if it is out of bounds.
    fn fault(&self) -> Option<String> {
        let Self { setting, value, least, most, why } = self;
        let fits = least <= value && value <= most;
        (!fits).then(|| format!("{setting}: must be {least:#} to {most:#}: {why}"))
    }
}

impl Config {
    /// The spans that are out of bounds, each with its bounds and what needs them.
    pub(super) fn span_faults(&self) -> impl Iterator<Item = String> {
        self.spans().into_iter().filter_map(|span| span.fault())
    }

    fn spans(&self) -> Vec<Span> {
        let (pool, validation, limits) = (&self.pool, &self.validation, &self.limits);
        let span = |setting, value, least, most, why| Span { setting, value, least, most, why };
        let mut spans = vec![
            span(
                "drain_timeout",
                self.drain_timeout,
                SignedDuration::ZERO,
                DAY,
                "a service that stops must end some day",
            ),
            span(
                "sweep_interval",
                self.sweep_interval,
                SignedDuration::from_millis(1),
                DAY,
                "tables grow between two sweeps",
            ),
            span(
                "pool.min_hold",
                pool.min_hold,
                SHORTEST_HOLD,
                DAY,
                "a shorter hold would be over when its answer arrives",
            ),
            span(
                "pool.default_hold",
                pool.default_hold,
                pool.min_hold,
                pool.max_hold,
                "that is pool.min_hold to pool.max_hold, as for a hold that a request asks for",
            ),
            span(
                "pool.max_hold",
                pool.max_hold,
                pool.default_hold,
                pool.spend_log_retention,
                "at least pool.default_hold; and a hold on a last resort is an entry of the spend log, which must outlast it",
            ),
            span(
                "pool.max_total_hold",
                pool.max_total_hold,
                pool.max_hold,
                pool.spend_log_retention,
                "at least pool.max_hold",
            ),
            span(
                "pool.expiring_soon",
                pool.expiring_soon,
                SignedDuration::ZERO,
                TEN_YEARS,
                "no promise depends on it",
            ),
            span(
                "pool.revocation_grace",
                pool.revocation_grace,
                SignedDuration::ZERO,
                TEN_YEARS,
                "with 0s, a revocation also ends the invites under way",
            ),
            span(
                "pool.keep_spent",
                pool.keep_spent,
                SHORTEST_SPENT,
                pool.spend_log_retention,
                "a reserve may be repeated after its spend; and what was spent is found in the spend log",
            ),
            span(
                "pool.keep_expired",
                pool.keep_expired,
                SHORTEST_TOMBSTONE,
                TEN_YEARS,
                "a tombstone must outlive every upload that could bring its package back",
            ),
            span(
                "pool.spend_log_retention",
                pool.spend_log_retention,
                SHORTEST_LOG,
                TEN_YEARS,
                "repeats of a spend are recognized by the log, and the database lets nobody purge younger entries",
            ),
            span(
                "validation.min_remaining",
                validation.min_remaining,
                SECOND,
                TEN_YEARS,
                "lifetimes are of whole seconds, and a package must still be valid when it arrives",
            ),
            span(
                "validation.max_lifetime",
                validation.max_lifetime,
                validation.min_remaining.saturating_add(SECOND),
                TEN_YEARS,
                "longer than validation.min_remaining, or no package would be accepted; and RFC 9420 wants an end (7.2)",
            ),
        ];
        let a_while =
            |setting, value, why| span(setting, value, SignedDuration::from_millis(1), DAY, why);
        let peers = "a peer that says nothing must not keep what it has for ever";
        spans.extend([
            a_while("limits.call_timeout", limits.call_timeout, "every call must end"),
            a_while("limits.handshake_timeout", limits.handshake_timeout, peers),
            a_while("limits.idle_timeout", limits.idle_timeout, peers),
            a_while("limits.stranger_timeout", limits.stranger_timeout, peers),
            a_while("limits.write_timeout", limits.write_timeout, peers),
            span(
                "limits.connection_age",
                limits.connection_age,
                SignedDuration::ZERO,
                DAY,
                "a client certificate is checked when its connection begins; with 0s, connections stay",
            ),
        ]);
        spans.extend(self.tls.as_ref().map(|tls| {
            let why = "a renewed certificate must be noticed before the old one ends";
            a_while("tls.reload_interval", tls.reload_interval, why)
        }));
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsConfig;

    /// A change of one setting.
    type Set = fn(&mut Config, SignedDuration);

    const SETTINGS: [(&str, Set); 20] = [
        ("drain_timeout", |config, span| config.drain_timeout = span),
        ("sweep_interval", |config, span| config.sweep_interval = span),
        ("pool.min_hold", |config, span| config.pool.min_hold = span),
        ("pool.default_hold", |config, span| config.pool.default_hold = span),
        ("pool.max_hold", |config, span| {
            config.pool.max_hold = span;
            config.pool.max_total_hold = config.pool.max_total_hold.max(span);
        }),
        ("pool.max_total_hold", |config, span| config.pool.max_total_hold = span),
        ("pool.expiring_soon", |config, span| config.pool.expiring_soon = span),
        ("pool.revocation_grace", |config, span| config.pool.revocation_grace = span),
        ("pool.keep_spent", |config, span| config.pool.keep_spent = span),
        ("pool.keep_expired", |config, span| config.pool.keep_expired = span),
        ("pool.spend_log_retention", |config, span| config.pool.spend_log_retention = span),
        ("validation.min_remaining", |config, span| config.validation.min_remaining = span),
        ("validation.max_lifetime", |config, span| config.validation.max_lifetime = span),
        ("limits.call_timeout", |config, span| config.limits.call_timeout = span),
        ("limits.handshake_timeout", |config, span| config.limits.handshake_timeout = span),
        ("limits.idle_timeout", |config, span| config.limits.idle_timeout = span),
        ("limits.stranger_timeout", |config, span| config.limits.stranger_timeout = span),
        ("limits.write_timeout", |config, span| config.limits.write_timeout = span),
        ("limits.connection_age", |config, span| config.limits.connection_age = span),
        ("limits.rates", |config, span| config.limits.rates.upload.every = span),
    ];

    fn fault(change: impl FnOnce(&mut Config)) -> Option<String> {
        let mut config = Config::default();
        change(&mut config);
        config.check().err().map(|error| error.to_string())
    }

    #[test]
    fn no_span_may_be_negative_or_endless() {
        for (setting, set) in SETTINGS {
            for span in [-SECOND, SignedDuration::MIN, SignedDuration::MAX, TEN_YEARS + SECOND] {
                let fault = fault(|config| set(config, span)).expect(setting);
                assert!(fault.contains(setting), "{span}: {fault}");
            }
        }
    }

    #[test]
    fn each_span_keeps_to_what_a_promise_needs() {
        let days = |days| DAY * days;
        let milli = SignedDuration::from_millis(1);
        for (setting, at_the_bound, beyond, why) in [
            ("sweep_interval", DAY, DAY + SECOND, "tables grow"),
            ("pool.min_hold", SHORTEST_HOLD, milli, "its answer"),
            ("pool.min_hold", SECOND * 60, SECOND * 61, "pool.default_hold"),
            ("pool.default_hold", SECOND, milli, "pool.min_hold"),
            ("pool.default_hold", SECOND * 600, SECOND * 601, "pool.max_hold"),
            ("pool.max_hold", SECOND * 60, SECOND * 59, "pool.default_hold"),
            ("pool.max_hold", days(90), days(91), "must outlast it"),
            ("pool.max_total_hold", SECOND * 600, SECOND * 599, "pool.max_hold"),
            ("pool.keep_spent", SECOND * 30, SECOND * 29, "may be repeated"),
            ("pool.keep_spent", days(90), days(91), "in the spend log"),
            ("pool.keep_expired", SECOND * 30, SECOND * 29, "tombstone"),
            ("pool.spend_log_retention", days(30), days(30) - SECOND, "repeats of a spend"),
            ("validation.min_remaining", SECOND, milli, "still be valid"),
            ("validation.min_remaining", days(90) - SECOND, days(90), "no package would"),
            ("validation.max_lifetime", SECOND * 601, SECOND * 600, "no package would"),
        ] {
            let (_, set) = SETTINGS.into_iter().find(|(name, _)| *name == setting).unwrap();
            assert_eq!(fault(|config| set(config, at_the_bound)), None, "{setting}");
            let fault = fault(|config| set(config, beyond)).expect(setting);
            assert!(fault.contains(why), "{setting}: {fault}");
        }
        for setting in ["pool.keep_expired", "pool.spend_log_retention", "validation.min_remaining"]
        {
            let (_, set) = SETTINGS.into_iter().find(|(name, _)| *name == setting).unwrap();
            let fault = fault(|config| set(config, SignedDuration::ZERO)).expect(setting);
            assert!(fault.contains(setting), "{fault}");
        }
    }

    /// Every span of the configuration, except those of tokens and certificates, which have tests of their own.
    #[test]
    fn no_span_is_forgotten() {
        let written = serde_json::to_value(Config::default()).unwrap();
        let sections = ["", "pool", "validation", "limits", "lanes", "telemetry", "database_tls"];
        for section in sections {
            let fields = if section.is_empty() { &written } else { &written[section] };
            for (name, value) in fields.as_object().unwrap() {
                let is_span = value.as_str().is_some_and(|text| {
                    text.starts_with("PT") || text.starts_with('P') && text.ends_with('D')
                });
                let setting =
                    if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
                let known = SETTINGS.iter().any(|(known, _)| *known == setting);
                assert!(!is_span || known, "{setting} has no bound");
            }
        }
    }

    #[test]
    fn certificates_are_read_again_some_day() {
        for interval in [SignedDuration::ZERO, DAY + SECOND] {
            let tls =
                serde_json::json!({ "certificate": "a", "key": "b", "reload_interval": interval });
            let tls: TlsConfig = serde_json::from_value(tls).unwrap();
            let fault = fault(|config| config.tls = Some(tls)).unwrap();
            assert!(fault.contains("tls.reload_interval"), "{fault}");
        }
    }
}
