//! Purges old rows from time to time. Every replica does; nothing waits for it.

use crate::pool::KeyPackagePool;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Sweeps once each interval, until the task is dropped.
pub async fn run(pool: KeyPackagePool, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match pool.sweep_if_clocks_agree().await {
            Ok(None) => tracing::warn!("the clocks of service and database differ: did not sweep"),
            Ok(Some(purged)) if purged == Default::default() => {}
            Ok(Some(purged)) => tracing::info!(
                key_packages = purged.key_packages,
                spend_log_entries = purged.spend_log_entries,
                "purged"
            ),
            Err(error) => tracing::warn!(%error, "could not sweep; will try again"),
        }
    }
}
