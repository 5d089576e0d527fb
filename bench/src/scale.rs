//! The same reserve with more and more packages stored.

use crate::{
    cli::ScaleOptions,
    compare::targets::{Limit, Target},
    database::fill::{PACKAGES_PER_USER, Packages},
    drive::Window,
    error::{Error, Outcome},
    report::{Row, Summary, print_json, table},
    rig::{Demand, Rig},
    subject::{SCALE_TTL, Users},
};
use serde::Serialize;
use std::time::Instant;

/// How the names of users begin.
const USERS: &str = "user-";

/// The share of the smallest size's reserves a second that the largest size is to reach.
const SHARE: f64 = 0.8;

/// What `scale` found.
#[derive(Debug, Serialize)]
struct Scale {
    in_flight: u32,
    seed: u64,
    postgres_settings: String,
    sizes: Vec<Size>,
    target: Target,
    violations: u64,
    failed_calls: u64,
}

/// What was found at one size.
#[derive(Debug, Serialize)]
struct Size {
    /// Packages stored.
    packages: u32,
    /// Bytes of the whole database.
    database_bytes: i64,
    #[serde(flatten)]
    summary: Summary,
}

/// Runs `scale`.
pub(crate) async fn run(mut options: ScaleOptions) -> Result<Outcome, Error> {
    options.sizes.sort_unstable();
    options.sizes.dedup();
    let rig = Rig::start(&options.bench).await?;
    let mut sizes = Vec::new();
    let mut stored = 0;
    for &packages in &options.sizes {
        let begun = Instant::now();
        let users = packages / PACKAGES_PER_USER;
        rig.database
            .fill_pools(&Packages {
                prefix: USERS,
                users: stored + 1..=users,
                copies: 1..=PACKAGES_PER_USER,
                bytes: options.bench.package_bytes,
            })
            .await?;
        rig.database.settle().await?;
        stored = users;
        eprintln!("{packages} packages are stored after {:.1} s", begun.elapsed().as_secs_f64());
        sizes.push(measure(&rig, &options, packages).await?);
    }
    let outcome = rig.verdict().await?;
    let scale = Scale::new(sizes, &options, &rig);
    rig.database.close().await?;
    scale.tell(options.bench.run.json)?;
    Ok(outcome)
}

/// Measures all rounds at one size, with a service that has seen no other.
async fn measure(rig: &Rig, options: &ScaleOptions, packages: u32) -> Result<Size, Error> {
    let service = rig.service().await?;
    let users = Users { prefix: USERS, count: packages / PACKAGES_PER_USER, turn: None };
    let demand = Demand { users, targets: 1, ttl: SCALE_TTL, in_flight: options.in_flight };
    let window = Window { warm_up: options.window.mul_f64(0.3), length: options.window };
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        let measured = Box::pin(rig.measure_reserves(&demand, window, &[&service])).await?;
        eprintln!("round {round} of {}: {:>9.0}/s", options.rounds, measured.per_second());
        rounds.push(measured);
    }
    service.stop().await?;
    let database_bytes = rig.database.size().await?;
    Ok(Size { packages, database_bytes, summary: Summary::of(&rounds) })
}

impl Scale {
    /// Compares the largest size with the smallest.
    fn new(sizes: Vec<Size>, options: &ScaleOptions, rig: &Rig) -> Self {
        let rate = |size: Option<&Size>| size.map(|size| size.summary.per_second);
        let ratio = rate(sizes.last()).zip(rate(sizes.first())).map(|(last, first)| last / first);
        let name = |size: Option<&Size>| size.map_or(0, |size| size.packages);
        let (first, last) = (name(sizes.first()), name(sizes.last()));
        let what = format!("reserves a second with {last} packages / with {first}");
        Self {
            in_flight: options.in_flight,
            seed: options.bench.run.seed,
            postgres_settings: rig.settings.clone(),
            sizes,
            target: Target::new(what, ratio, Limit::AtLeast, SHARE),
            violations: rig.checker.violations().count(),
            failed_calls: rig.failures.count(),
        }
    }

    /// Prints it.
    fn tell(&self, json: bool) -> Result<(), Error> {
        let rows = self.sizes.iter().map(|size| Row {
            what: format!("{} packages, {} MB", size.packages, size.database_bytes / 1_000_000),
            summary: size.summary.clone(),
        });
        let rows: Vec<Row> = rows.collect();
        let text = format!(
            "{}{}\n{} violations of promises, {} failed calls",
            table(&rows),
            self.target,
            self.violations,
            self.failed_calls
        );
        if json {
            eprintln!("{text}");
            print_json(self)
        } else {
            println!("{text}");
            Ok(())
        }
    }
}
