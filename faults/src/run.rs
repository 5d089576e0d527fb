//! A run: processes, work, faults, and the verdict.

use crate::{
    check::check,
    cli::RunOptions,
    error::{Error, Outcome},
    history::{self, History, Kind, Log},
    nemesis::{self, Rig},
    processes::{Postgres, Program, Replica, read_books},
    report::Report,
    work::{Plan, Work},
};
use clap::ValueEnum;
use rand::{SeedableRng, rngs::SmallRng};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How many replicas there are.
const REPLICAS: usize = 2;

/// Runs, checks, and reports.
pub(crate) async fn run(options: &RunOptions) -> Result<Outcome, Error> {
    let seed = options.seed.unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    let kinds = kinds(options)?;
    let begun = Instant::now();
    let history = suffer(options, seed, &kinds).await?;
    let seconds = begun.elapsed().as_secs();
    if let Some(path) = &options.history {
        history::write(&history, path).map_err(Error::io(format!("write {}", path.display())))?;
    }
    let verdict = tokio::task::spawn_blocking(move || (check(&history), history)).await?;
    let (verdict, history) = verdict;
    let report = Report::of(&history, &verdict, seed, seconds, &kinds);
    report.print(options.json);
    Ok(report.outcome())
}

/// The faults that are wanted, all unless others are named. The clock of a binary is the machine's.
fn kinds(options: &RunOptions) -> Result<Vec<Kind>, Error> {
    let has_clock = options.binary.is_none() && options.previous.is_none();
    let mut kinds = options.faults.clone();
    if kinds.is_empty() {
        let all = Kind::value_variants().iter().copied();
        kinds = all.filter(|kind| has_clock || *kind != Kind::Clock).collect();
    }
    if !has_clock && kinds.contains(&Kind::Clock) {
        let why = "--faults clock: can't be combined with --binary or --previous, whose clock is the machine's";
        return Err(Error::Usage(why.to_owned()));
    }
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
}

/// Checks a history in a file.
pub(crate) fn check_file(path: &Path) -> Result<Outcome, Error> {
    let history = history::read(path).map_err(Error::io(format!("read {}", path.display())))?;
    let verdict = check(&history);
    let report = Report::of(&history, &verdict, 0, 0, &[]);
    report.print(false);
    Ok(report.outcome())
}

/// Lets clients work while faults are injected, and returns what happened.
async fn suffer(options: &RunOptions, seed: u64, kinds: &[Kind]) -> Result<History, Error> {
    let own = |path: &Option<std::path::PathBuf>| path.clone().map(Program::Binary);
    let next = own(&options.binary).unwrap_or(Program::Own);
    let first = own(&options.previous).unwrap_or_else(|| next.clone());

    let postgres = Postgres::start().await;
    let mut replicas = Vec::new();
    for number in 1..=REPLICAS {
        replicas.push(Replica::start(number, first.clone(), &postgres).await?);
    }
    let plan = Plan {
        endpoints: replicas.iter().map(Replica::endpoint).collect(),
        clients: options.clients,
        impatient: !kinds.iter().all(|kind| kind.is_invisible()),
        seed,
    };
    let random = SmallRng::seed_from_u64(seed.wrapping_add(1));
    let mut rig = Rig { postgres, replicas, next, random };

    let log = Arc::new(Log::default());
    let work = Work::begin(&plan, &log).await?;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let faults = nemesis::run(&mut rig, kinds, end).await?;
    work.end().await?;
    eprintln!("{} operations; reading the books", log.len());

    // What replicas still do for callers that have left is done when they have ended.
    for replica in &mut rig.replicas {
        replica.stop().await?;
    }
    let client = rig.postgres.connect().await?;
    let books = read_books(&client).await?;
    Ok(History { records: log.take(), faults, books })
}
