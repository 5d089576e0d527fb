//! More load than keypool can carry.

mod cores;
mod report;

use crate::{
    child::Child,
    cli::OverloadOptions,
    database::fill::{PACKAGES_PER_USER, Packages},
    drive::{Failures, Offer, Window, memory_peak, offer},
    error::{Error, Outcome},
    rig::{Demand, Rig},
    subject::{Channels, Offered, OfferedBySdk, Requests, TTL, Users},
};
use cores::Cores;
use report::{Report, Round};
use std::{sync::Arc, time::Duration};

/// How the names of users begin.
const USERS: &str = "user-";

/// The share of a measurement that passes before anything is counted.
const WARM_UP: f64 = 0.3;

/// How long an overloaded service is left alone before it is measured again.
const REST: Duration = Duration::from_secs(1);

/// Runs `overload`.
pub(crate) async fn run(mut options: OverloadOptions) -> Result<Outcome, Error> {
    // A call costs more where many connections have few each: peak and overload come by the same number.
    options.bench.run.connections = options.senders;
    let cores = Cores::split(&options)?;
    cores.start_measured()?;
    let mut rig = Rig::start(&options.bench).await?;
    rig.failures = Arc::new(Failures::of_overload());
    rig.database
        .fill_pools(&Packages {
            prefix: USERS,
            users: 1..=options.packages / PACKAGES_PER_USER,
            copies: 1..=PACKAGES_PER_USER,
            bytes: options.bench.package_bytes,
        })
        .await?;
    rig.database.settle().await?;
    let service = rig.service().await?;
    let share = cores.start_load()?;
    eprintln!("{share}");
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let round = Box::pin(round(&rig, &service, &options)).await?;
        eprintln!("round {number} of {}: {round}", options.rounds);
        rounds.push(round);
        tokio::time::sleep(REST).await;
    }
    let memory = service.pid().and_then(memory_peak);
    service.stop().await?;
    let outcome = rig.verdict().await?;
    let report = Report::new(&options, &rig, rounds, memory, share);
    rig.database.close().await?;
    report.tell(options.bench.run.json)?;
    Ok(outcome)
}

/// Looks for the peak, and offers several times of it.
async fn round(rig: &Rig, service: &Child, options: &OverloadOptions) -> Result<Round, Error> {
    let users = Users { prefix: USERS, count: options.packages / PACKAGES_PER_USER, turn: None };
    let demand = |in_flight| Demand { users: users.clone(), targets: 1, ttl: TTL, in_flight };
    let window = Window { warm_up: options.window.mul_f64(WARM_UP), length: options.window };
    let mut peak = 0_f64;
    for &in_flight in &options.in_flight {
        let demand = demand(in_flight);
        let measured = Box::pin(rig.measure_reserves(&demand, window, &[service])).await?;
        peak = peak.max(measured.per_second());
    }
    let what = Offer { per_second: options.times * peak, deadline: options.deadline, window };
    let (meter, requests) = (rig.meter(&[service]), || rig.requests(&demand(1)));
    let taken = if options.sdk {
        offer(by_sdk(rig, service, options, requests).await?, what, &meter, &rig.failures).await?
    } else {
        offer(by_channels(rig, service, options, requests).await?, what, &meter, &rig.failures)
            .await?
    };
    Ok(Round { peak, taken })
}

/// Senders that know nothing of overload, each on a connection of its own.
async fn by_channels(
    rig: &Rig,
    service: &Child,
    options: &OverloadOptions,
    requests: impl Fn() -> Requests,
) -> Result<Vec<Offered>, Error> {
    let senders = options.senders;
    let channels = Channels::connect(&[service.endpoint()], senders, senders).await?;
    let sender = |number| Offered {
        client: channels.client(number as usize),
        requests: requests(),
        checker: rig.checker.clone(),
        package_bytes: rig.options.package_bytes as usize,
    };
    Ok((0..senders).map(sender).collect())
}

/// Senders that call as applications do, each with a client of its own.
async fn by_sdk(
    rig: &Rig,
    service: &Child,
    options: &OverloadOptions,
    requests: impl Fn() -> Requests,
) -> Result<Vec<OfferedBySdk>, Error> {
    let mut senders = Vec::new();
    for _ in 0..options.senders {
        let (endpoint, checker) = (service.endpoint(), rig.checker.clone());
        senders.push(OfferedBySdk::connect(endpoint, options.deadline, requests(), checker).await?);
    }
    Ok(senders)
}
