//! Purges old rows from time to time. Every replica does; nothing waits for it.

use crate::{
    causes::causes,
    pool::KeyPackagePool,
    store::Purged,
    telemetry::catalogue::{SWEEP_DURATION, SWEEPS, SWEPT},
};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// Sweeps once each interval, until the task is dropped.
pub async fn run(pool: KeyPackagePool, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let swept = pool.sweep_if_clocks_agree().await;
        SWEEP_DURATION.with([]).record(began.elapsed());
        let result = match swept {
            Ok(None) => {
                tracing::warn!("the clocks of service and database differ: did not sweep");
                "skipped"
            }
            Ok(Some(purged)) => {
                note(purged);
                "ok"
            }
            Err(error) => {
                tracing::warn!(error = causes(&error), "could not sweep; will try again");
                "failed"
            }
        };
        SWEEPS.count([result]);
    }
}

fn note(purged: Purged) {
    SWEPT.with(["key_package"]).increment(purged.key_packages);
    SWEPT.with(["spend_log"]).increment(purged.spend_log_entries);
    SWEPT.with(["key_package_bytes"]).increment(purged.emptied);
    if purged != Purged::default() {
        tracing::info!(
            key_packages = purged.key_packages,
            spend_log_entries = purged.spend_log_entries,
            emptied = purged.emptied,
            "purged"
        );
    }
}
