//! Drives a keypool that runs elsewhere, through the SDK.

mod access;
mod counts;
mod mix;
mod prepare;
mod report;
mod worker;

pub(crate) use access::Access;
pub(crate) use mix::Mix;

use crate::{
    check::Checker,
    cli::LoadOptions,
    drive::{Failures, Meter, Tally, Window, measure_watched},
    error::{Error, Outcome},
};
use counts::Counts;
use keypool_client::Client;
use rand::{SeedableRng, rngs::SmallRng};
use report::Report;
use std::{sync::Arc, time::Duration};
use tokio::time::interval;
use uuid::Uuid;
use worker::Worker;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(1);

/// Runs `load`.
pub(crate) async fn run(options: LoadOptions) -> Result<Outcome, Error> {
    let prefix: Arc<str> = match &options.prefix {
        Some(prefix) => prefix.as_str().into(),
        None if options.prepare == 0 => {
            let what = "--prepare 0 needs --prefix: the users of a new prefix have no packages";
            return Err(Error::Usage(what.to_owned()));
        }
        None => format!("load-{}-", Uuid::now_v7().simple()).into(),
    };
    let clients = connect(&options).await?;
    eprintln!("users {prefix}000001 to {prefix}{:06}, seed {}", options.users, options.run.seed);
    prepare::fill(&options, &prefix, &clients).await?;

    let (checker, counts) = (Arc::<Checker>::default(), Arc::<Counts>::default());
    let failures = Arc::<Failures>::default();
    let workers = (0..options.in_flight).map(|number| Worker {
        number: number as usize,
        client: clients[number as usize % clients.len()].clone(),
        mix: options.mix,
        prefix: prefix.clone(),
        users: options.users,
        ttl: options.ttl,
        random: SmallRng::seed_from_u64(options.run.seed.wrapping_add(number.into())),
        checker: checker.clone(),
        counts: counts.clone(),
    });
    let window = Window { warm_up: Duration::ZERO, length: options.duration };
    let progress = async |tally: &Tally| tell(tally, &counts, &failures).await;
    let meter = Meter::default();
    let measured = measure_watched(workers.collect(), window, &meter, &failures, progress).await?;
    Report::new(&options, measured.seconds, &counts, &checker, &failures).tell(options.run.json)
}

/// Clients, each with a connection to every endpoint.
async fn connect(options: &LoadOptions) -> Result<Vec<Client>, Error> {
    let mut clients = Vec::new();
    for _ in 0..options.run.connections.min(options.in_flight).max(1) {
        let mut endpoints = options.endpoint.iter();
        let first = endpoints.next().cloned().unwrap_or_default();
        let builder =
            endpoints.fold(Client::builder(first), |builder, endpoint| builder.endpoint(endpoint));
        let builder = options.access.apply(builder)?;
        clients.push(builder.connect().await.map_err(Error::Prepare)?);
    }
    Ok(clients)
}

/// Tells how it goes, for as long as it is polled.
async fn tell(tally: &Tally, counts: &Counts, failures: &Failures) {
    let mut seconds = interval(PROGRESS);
    seconds.tick().await; // at once
    let mut before = 0;
    for second in 1.. {
        seconds.tick().await;
        let calls = tally.calls();
        let refused: u64 = counts.all().iter().map(|(_, count)| count.so_far().1).sum();
        eprintln!(
            "{second:>5} s  {:>8} calls/s  p50 {:>8.2} ms  p99 {:>8.2} ms  {refused} refused, {} failed",
            calls - before,
            tally.latency_ms(0.5),
            tally.latency_ms(0.99),
            failures.count(),
        );
        before = calls;
    }
}
