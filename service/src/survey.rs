//! Counts the pools of the whole database by their health, for the metrics.
//!
//! Some buckets at a time: a small database is counted in each round, a large one over many, and never does it cost more
//! than a small share of a connection. Every replica counts for itself.

use crate::{
    causes::causes,
    pool::KeyPackagePool,
    store::{Bucketful, StoreError, SurveyRow},
    telemetry::catalogue::{POOL_PACKAGES, POOLS, POOLS_COUNTED, POOLS_WITHOUT_LAST_RESORT},
    types::CipherSuite,
};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::time::MissedTickBehavior;

/// How often a round begins.
const INTERVAL: Duration = Duration::from_secs(15);

/// How long a round goes on with further buckets.
const ROUND: Duration = Duration::from_millis(200);

/// How many buckets one statement counts.
const BUCKETS: usize = 32;

/// Counts again and again, until the task is dropped.
pub async fn run(pool: KeyPackagePool) {
    let mut survey = Survey::new();
    // Until everything was counted, the count is as old as the process.
    POOLS_COUNTED.with([]).set(number(pool.now().as_second().unsigned_abs()));
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match survey.round(&pool).await {
            Ok(()) => survey.show(),
            Err(error) => {
                tracing::debug!(error = causes(&error), "could not count pools; will try again")
            }
        }
    }
}

/// What was counted, by groups of buckets.
#[derive(Debug)]
struct Survey {
    parts: Vec<(Bucketful, Option<Part>)>,
    next: usize,
}

#[derive(Debug)]
struct Part {
    counted_at: Timestamp,
    rows: Vec<SurveyRow>,
}

impl Survey {
    fn new() -> Self {
        let parts = Bucketful::all(BUCKETS).into_iter().map(|buckets| (buckets, None)).collect();
        Self { parts, next: 0 }
    }

    /// Counts one group after another, each once at most, until the time is up.
    async fn round(&mut self, pool: &KeyPackagePool) -> Result<(), StoreError> {
        let began = Instant::now();
        for _ in 0..self.parts.len() {
            let place = self.next;
            // Before it is counted: one that always fails must not keep the others from it.
            self.next = (place + 1) % self.parts.len();
            let (buckets, part) = &mut self.parts[place];
            let (counted_at, rows) = pool.survey(buckets).await?;
            *part = Some(Part { counted_at, rows });
            if began.elapsed() >= ROUND {
                break;
            }
        }
        Ok(())
    }

    /// Shows the sums, once everything was counted.
    fn show(&self) {
        let parts: Option<Vec<&Part>> = self.parts.iter().map(|(_, part)| part.as_ref()).collect();
        let Some(parts) = parts else { return };
        for (suite, sum) in &sums(parts.iter().flat_map(|part| &part.rows)) {
            sum.show(suite);
        }
        if let Some(oldest) = parts.iter().map(|part| part.counted_at).min() {
            POOLS_COUNTED.with([]).set(number(oldest.as_second().unsigned_abs()));
        }
    }
}

/// Sums for each cipher suite, by its label.
fn sums<'a>(rows: impl Iterator<Item = &'a SurveyRow>) -> BTreeMap<&'static str, Sum> {
    let mut sums: BTreeMap<&'static str, Sum> = BTreeMap::new();
    for row in rows {
        sums.entry(label(row.cipher_suite)).or_default().add(row);
    }
    sums
}

/// Counts of one cipher suite.
#[derive(Debug, Default)]
struct Sum {
    health: [u64; 3],
    packages: [u64; 5],
    without_last_resort: u64,
}

impl Sum {
    fn add(&mut self, row: &SurveyRow) {
        let health = [row.empty, row.low, row.healthy];
        let packages = [row.available, row.reserved, row.expired, row.quarantined, row.returned];
        self.health.iter_mut().zip(health).for_each(|(sum, count)| *sum += count);
        self.packages.iter_mut().zip(packages).for_each(|(sum, count)| *sum += count);
        self.without_last_resort += row.without_last_resort;
    }

    fn show(&self, suite: &'static str) {
        for (health, count) in ["empty", "low", "healthy"].into_iter().zip(self.health) {
            POOLS.with([suite, health]).set(number(count));
        }
        let states = ["available", "reserved", "expired", "quarantined", "returned"];
        for (state, count) in states.into_iter().zip(self.packages) {
            POOL_PACKAGES.with([suite, state]).set(number(count));
        }
        POOLS_WITHOUT_LAST_RESORT.with([suite]).set(number(self.without_last_resort));
    }
}

/// The number of a cipher suite, of those that RFC 9420 (section 17.1) registers.
fn label(suite: CipherSuite) -> &'static str {
    const LABELS: [&str; 7] = ["1", "2", "3", "4", "5", "6", "7"];
    let place = usize::from(suite.0).checked_sub(1);
    place.and_then(|place| LABELS.get(place)).copied().unwrap_or("other")
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}
