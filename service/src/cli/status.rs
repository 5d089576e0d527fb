//! `keypool status`: what the database holds, and which pools are low.

use super::{CliError, print, with_store};
use crate::{
    config::Config,
    pool::{Health, Policy},
    store::{Bucketful, LowPool, Overview, Store, StoreError},
};
use serde::Serialize;
use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal, Write as _},
    time::{Duration, Instant},
};

/// How often it is shown anew, at most; each time takes a tenth of the time at most.
const PAUSE: Duration = Duration::from_secs(2);

/// How many buckets one statement reads.
const BUCKETS: usize = 32;

/// The beginning of the screen, and nothing on it.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Flags of `status`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StatusFlags {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// Show it again and again, until Ctrl-C. With --json, an object a line
    #[arg(long)]
    watch: bool,
    /// How many pools to list, the lowest first
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    lowest: u32,
}

/// What is shown.
#[derive(Debug, Serialize)]
struct Status {
    #[serde(flatten)]
    overview: Overview,
    pools: Pools,
    lowest: Vec<Lowest>,
}

/// Pools by their health.
#[derive(Debug, Default, Serialize)]
struct Pools {
    empty: u64,
    low: u64,
    healthy: u64,
    without_last_resort: u64,
}

/// A pool that has little left.
#[derive(Debug, Serialize)]
struct Lowest {
    user_id: String,
    device_id: String,
    cipher_suite: u16,
    health: &'static str,
    available: u64,
    reserved: u64,
    quarantined: u64,
    last_resort: bool,
    last_upload_time: String,
}

/// Shows it, once or again and again.
pub(super) async fn run(config: &Config, flags: &StatusFlags) -> Result<(), CliError> {
    let policy = config.policy()?;
    with_store(config, async |store| {
        loop {
            let began = Instant::now();
            let status = read(&store, &policy, flags.lowest).await?;
            show(&status, flags)?;
            if !flags.watch {
                return Ok(());
            }
            tokio::time::sleep(PAUSE.max(began.elapsed() * 9)).await;
        }
    })
    .await
}

/// Reads some buckets after others: no statement takes long, however much there is.
async fn read(store: &Store, policy: &Policy, wanted: u32) -> Result<Status, StoreError> {
    let now = store.clock().now();
    let (mut overview, mut pools, mut lowest) = (Overview::default(), Pools::default(), Vec::new());
    for buckets in Bucketful::all(BUCKETS) {
        overview += store.overview(&buckets, now).await?;
        for row in store.survey(&buckets, now, policy.low_watermark).await? {
            pools.empty += row.empty;
            pools.low += row.low;
            pools.healthy += row.healthy;
            pools.without_last_resort += row.without_last_resort;
        }
        lowest.extend(store.lowest_pools(&buckets, now, wanted).await?);
        lowest.sort_by(|one: &LowPool, other| rank(one).cmp(&rank(other)));
        lowest.truncate(wanted as usize);
    }
    let lowest = lowest.into_iter().map(|pool| Lowest::of(pool, policy)).collect();
    Ok(Status { overview, pools, lowest })
}

/// What is listed first.
fn rank(pool: &LowPool) -> impl Ord + '_ {
    (pool.available, pool.has_last_resort, &pool.user, &pool.device, pool.cipher_suite.0)
}

fn show(status: &Status, flags: &StatusFlags) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match (flags.json, flags.watch) {
        (true, false) => {
            drop(out);
            print(status, true)?;
        }
        (true, true) => {
            let line = serde_json::to_string(status).map_err(io::Error::other)?;
            writeln!(out, "{line}")?;
        }
        (false, watch) => {
            let clear = if watch && out.is_terminal() { CLEAR } else { "" };
            writeln!(out, "{clear}{status}")?;
        }
    }
    Ok(())
}

impl Lowest {
    fn of(pool: LowPool, policy: &Policy) -> Self {
        Self {
            health: match Health::of(pool.available, policy) {
                Health::Empty => "empty",
                Health::Low => "low",
                Health::Healthy => "healthy",
            },
            user_id: pool.user.to_string(),
            device_id: pool.device.to_string(),
            cipher_suite: pool.cipher_suite.0,
            available: pool.available,
            reserved: pool.reserved,
            quarantined: pool.quarantined,
            last_resort: pool.has_last_resort,
            last_upload_time: format!("{:.0}", pool.last_upload_at),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overview { users, devices, available, reserved, .. } = self.overview;
        let Overview { spent, expired, revoked, quarantined, last_resort, .. } = self.overview;
        let Pools { empty, low, healthy, without_last_resort } = self.pools;
        writeln!(f, "users     {users}")?;
        writeln!(f, "devices   {devices}")?;
        writeln!(
            f,
            "pools     {empty} empty, {low} low, {healthy} healthy; {without_last_resort} without last resort"
        )?;
        writeln!(
            f,
            "one-time  {available} available, {reserved} reserved, {quarantined} quarantined, {spent} spent, {expired} expired, {revoked} revoked"
        )?;
        write!(f, "last resort {last_resort}")?;
        if self.lowest.is_empty() {
            return Ok(());
        }
        write!(f, "\n\n{}", table(&self.lowest))
    }
}

/// The lowest pools, in columns.
fn table(pools: &[Lowest]) -> String {
    let header = [
        "health",
        "available",
        "reserved",
        "last resort",
        "suite",
        "last upload",
        "user",
        "device",
    ];
    let row = |pool: &Lowest| {
        [
            pool.health.to_owned(),
            pool.available.to_string(),
            pool.reserved.to_string(),
            if pool.last_resort { "yes" } else { "none" }.to_owned(),
            pool.cipher_suite.to_string(),
            pool.last_upload_time.clone(),
            pool.user_id.clone(),
            pool.device_id.clone(),
        ]
    };
    let rows: Vec<_> =
        std::iter::once(header.map(str::to_owned)).chain(pools.iter().map(row)).collect();
    let widths: [usize; 8] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let pool = Lowest {
            user_id: "bob".into(),
            device_id: "phone".into(),
            cipher_suite: 1,
            health: "empty",
            available: 0,
            reserved: 12,
            quarantined: 0,
            last_resort: false,
            last_upload_time: "2026-01-02T03:04:05Z".into(),
        };
        let table = table(&[pool]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].find("user"), lines[1].find("bob"), "{table}");
        assert!(lines[1].starts_with("empty   0 "), "{table}");
        assert!(lines[1].ends_with("bob   phone"), "{table}");
    }
}
