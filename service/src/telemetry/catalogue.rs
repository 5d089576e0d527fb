//! Every metric of the service. The table in docs/metrics.md is made of it.

use super::metric::{Counter, Description, Gauge, Histogram};

/// Makes a static of each metric, and a list of what they tell of themselves.
macro_rules! catalogue {
    ($($kind:ident<$count:literal> $metric:ident = $name:literal [$($label:literal),*]: $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $metric: $kind<$count> = $kind { name: $name, labels: [$($label),*] };
        )*

        /// What all of them tell of themselves, as they are listed.
        pub const ALL: &[Description] = &[
            $(Description { name: $name, kind: kind::$kind, labels: &[$($label),*], help: $help },)*
        ];
    };
}

/// How Prometheus calls the kinds.
#[expect(non_upper_case_globals, reason = "named like the types")]
mod kind {
    pub(super) const Counter: &str = "counter";
    pub(super) const Gauge: &str = "gauge";
    pub(super) const Histogram: &str = "histogram";
}

catalogue! {
    Gauge<1> BUILD_INFO = "keypool_build_info" ["version"]:
        "1, with the version that runs.";
    Gauge<0> READY = "keypool_ready" []:
        "1 while the service is ready, else 0.";

    Counter<2> GRPC_CALLS = "keypool_grpc_calls_total" ["method", "code"]:
        "Calls that ended, by gRPC status code.";
    Histogram<1> GRPC_CALL_DURATION = "keypool_grpc_call_duration_seconds" ["method"]:
        "How long calls took; a stream counts until its answer begins.";
    Gauge<0> GRPC_CALLS_IN_FLIGHT = "keypool_grpc_calls_in_flight" []:
        "Calls that are under way.";
    Gauge<0> WATCH_STREAMS = "keypool_watch_streams" []:
        "WatchPool streams that are open.";
    Counter<0> WATCH_STATUSES = "keypool_watch_statuses_total" []:
        "Statuses sent on WatchPool streams.";

    Counter<1> HANDED_OUT = "keypool_handed_out_packages_total" ["kind"]:
        "Packages newly handed out by reserves: kind is one_time or last_resort. Repeats of a reserve count nothing.";
    Counter<1> MISSING = "keypool_missing_targets_total" ["reason"]:
        "Targets of reserves that got no package, by the reason that callers were told.";
    Counter<2> HOLDS = "keypool_holds_total" ["operation", "outcome"]:
        "Packages that were to be spent, released or extended: outcome is ok or the API's reason.";
    Counter<1> UPLOADED = "keypool_uploaded_packages_total" ["result"]:
        "Uploaded packages: result is accepted, already_present or the API's reason of the rejection.";
    Counter<1> REVOKED = "keypool_revoked_packages_total" ["by"]:
        "Packages taken out of circulation: by is revoke or reconcile.";

    Gauge<2> POOLS = "keypool_pools" ["cipher_suite", "health"]:
        "Pools of devices in the whole database, by health: empty, low or healthy. Each replica counts all of them, some at a time.";
    Gauge<2> POOL_PACKAGES = "keypool_pool_packages" ["cipher_suite", "state"]:
        "One-time packages in the whole database: state is available, reserved, expired, quarantined or returned. Counted like keypool_pools.";
    Gauge<1> POOLS_WITHOUT_LAST_RESORT = "keypool_pools_without_last_resort" ["cipher_suite"]:
        "Pools that have no valid last-resort package. Counted like keypool_pools.";
    Gauge<0> POOLS_COUNTED = "keypool_pools_counted_timestamp_seconds" []:
        "When the oldest part of what keypool_pools tells was counted, in Unix time.";

    Gauge<1> LANE_WAITING = "keypool_lane_waiting_packages" ["lane"]:
        "Packages of calls that wait in a lane or are in its batch.";
    Histogram<1> LANE_WAIT = "keypool_lane_wait_seconds" ["lane"]:
        "How long calls waited for their batch to begin.";
    Histogram<1> LANE_BATCH_PACKAGES = "keypool_lane_batch_packages" ["lane"]:
        "Packages of each batch.";
    Histogram<1> LANE_BATCH_DURATION = "keypool_lane_batch_duration_seconds" ["lane"]:
        "How long batches took.";
    Counter<1> LANE_REFUSED = "keypool_lane_refused_total" ["lane"]:
        "Calls refused as OVERLOADED, because too much waited.";
    Counter<2> LANE_RETRIES = "keypool_lane_retries_total" ["lane", "cause"]:
        "Batches run again: cause is lost (connection), stale (statements out of date), conflict, or split (one item was at fault).";

    Histogram<1> STATEMENT_DURATION = "keypool_statement_duration_seconds" ["statement"]:
        "How long statements took, their way to the database and back included; statement is the name in the comment that each begins with.";
    Counter<2> STATEMENT_FAILURES = "keypool_statement_failures_total" ["statement", "cause"]:
        "Statements that failed: cause is lost, stale, unavailable, conflict, locked, busy or internal.";
    Gauge<0> DATABASE_AVAILABLE = "keypool_database_available" []:
        "1 if the last look at the database succeeded, else 0.";
    Gauge<1> DATABASE_CONNECTIONS = "keypool_database_connections" ["state"]:
        "Connections of the pool that calls share, without those of the lanes: state is idle or busy.";
    Gauge<0> DATABASE_WAITING = "keypool_database_waiting" []:
        "Calls that wait for a connection of the pool.";
    Gauge<0> CLOCK_SKEW = "keypool_clock_skew_seconds" []:
        "The database's time less the service's.";
    Gauge<0> FENCE = "keypool_fence" []:
        "The highest fence that is up, 0 if none is: packages of before it are handed out once their devices have reconciled.";

    Counter<1> SWEEPS = "keypool_sweeps_total" ["result"]:
        "Runs of the sweeper: result is ok, failed, or skipped because of a clock.";
    Counter<1> SWEPT = "keypool_swept_rows_total" ["table"]:
        "Rows that the sweeper purged; key_package_bytes counts packages whose bytes it emptied.";
    Histogram<0> SWEEP_DURATION = "keypool_sweep_duration_seconds" []:
        "How long runs of the sweeper took.";

    Counter<1> LIMITED = "keypool_limited_total" ["limit"]:
        "What was refused or answered with the last resort because a limit was hit.";
    Counter<1> SECURITY_EVENTS = "keypool_security_events_total" ["event"]:
        "What may be an attack.";
    Counter<1> SECURITY_EVENTS_NOT_LOGGED = "keypool_security_events_not_logged_total" ["event"]:
        "Those of keypool_security_events_total that were left out of the log, because a caller, or all, caused too many.";
    Counter<2> AUTHENTICATIONS = "keypool_authentications_total" ["kind", "result"]:
        "Callers who were to prove who they are: kind is token, certificate or none.";
    Counter<1> JWKS_REFRESHES = "keypool_jwks_refreshes_total" ["result"]:
        "Attempts to read the keys of the tokens' issuer: result is ok or failed.";

    Gauge<0> CONNECTIONS = "keypool_connections" []:
        "Connections of callers that are open.";
    Counter<1> ACCEPTED_CONNECTIONS = "keypool_connections_total" ["result"]:
        "Connections of callers, by how their beginning ended; evicted counts those that were ended to make room.";
    Counter<1> TLS_RELOADS = "keypool_tls_reloads_total" ["result"]:
        "Changed certificate files that were read: result is ok or failed.";
    Gauge<0> TLS_FILES_UNREAD = "keypool_tls_files_unread" []:
        "1 while certificate files can't be used as they are now and earlier ones stay in use, else 0.";
    Gauge<0> TLS_CERTIFICATE_EXPIRY = "keypool_tls_certificate_expiry_timestamp_seconds" []:
        "When the service's certificate ends, in Unix time.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, fmt::Write, fs};

    const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

    /// Run with KEYPOOL_WRITE_DOCS=1, it writes the table.
    #[test]
    fn the_documentation_lists_every_metric() {
        let mut table =
            String::from("| metric | kind | labels | what |\n| --- | --- | --- | --- |\n");
        for Description { name, kind, labels, help } in ALL {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
        }
        let docs = fs::read_to_string(DOCS).unwrap();
        let (start, end) = (docs.find("| metric |").unwrap(), docs.rfind(" |\n").unwrap() + 3);
        if std::env::var_os("KEYPOOL_WRITE_DOCS").is_some() {
            fs::write(DOCS, docs.replace(&docs[start..end], &table)).unwrap();
        } else {
            assert_eq!(&docs[start..end], table, "KEYPOOL_WRITE_DOCS=1 cargo test writes it");
        }
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut seen = HashSet::new();
        for Description { name, kind, help, .. } in ALL {
            assert!(seen.insert(name), "{name} is listed twice");
            assert!(name.starts_with("keypool_"), "{name}");
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
            assert!(
                *kind != "histogram" || name.ends_with("_seconds") || name.ends_with("_packages"),
                "{name} has no buckets"
            );
            assert!(help.ends_with('.'), "{name}");
        }
    }
}
