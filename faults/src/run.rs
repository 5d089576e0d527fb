//! A run: processes, work, faults, and the verdict.

use crate::{
    check::check,
    cli::RunOptions,
    error::{Error, Outcome},
    history::{self, Books, History, Incident, Kind, Log, Micros},
    nemesis::{self, Rig},
    processes::{Postgres, Program, Replica, read_books},
    report::Report,
    work::{Habits, Plan, Work},
};
use clap::ValueEnum;
use rand::{SeedableRng, rngs::SmallRng};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How many replicas there are.
const REPLICAS: usize = 3;

/// Runs, checks, and reports.
pub(crate) async fn run(options: &RunOptions) -> Result<Outcome, Error> {
    let seed = options.seed.unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    let kinds = kinds(options)?;
    let begun = Instant::now();
    let (history, failure) = suffer(options, seed, &kinds).await?;
    let seconds = begun.elapsed().as_secs();
    if let Some(path) = &options.history {
        history::write(&history, path).map_err(Error::io(format!("write {}", path.display())))?;
    }
    let verdict = tokio::task::spawn_blocking(move || (check(&history), history)).await?;
    let (verdict, history) = verdict;
    let report = Report::of(&history, &verdict, seed, seconds, &kinds);
    report.print(options.json);
    match (report.outcome(), failure) {
        (Outcome::Broken, _) => Ok(Outcome::Broken),
        (_, Some(failure)) => Err(failure),
        (outcome, None) => Ok(outcome),
    }
}

/// The faults that are wanted, all unless others are named. The clock of a binary is the machine's.
fn kinds(options: &RunOptions) -> Result<Vec<Kind>, Error> {
    let has_clock = options.binary.is_none() && options.previous.is_none();
    let mut kinds = options.faults.clone();
    if kinds.is_empty() {
        let all = Kind::value_variants().iter().copied();
        kinds = all.filter(|kind| has_clock || !kind.moves_clocks()).collect();
    }
    if let Some(kind) = kinds.iter().find(|kind| !has_clock && kind.moves_clocks()) {
        let kind = kind.name();
        return Err(Error::Usage(format!(
            "--faults {kind}: can't be combined with --binary or --previous, whose clock is the machine's"
        )));
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

/// Lets clients work while faults are injected, and returns what happened, and why that is not all that was to happen, if so.
///
/// # Errors
/// If nothing happened.
async fn suffer(
    options: &RunOptions,
    seed: u64,
    kinds: &[Kind],
) -> Result<(History, Option<Error>), Error> {
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
    let habits = Arc::new(Habits::default());
    let random = SmallRng::seed_from_u64(seed.wrapping_add(1));
    let incidents = Vec::new();
    let mut rig = Rig { postgres, replicas, next, habits, random, incidents };

    let log = Arc::new(Log::default());
    let work = Work::begin(&plan, &log, &rig.habits).await?;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut faults = Vec::new();
    let mut troubles = Troubles::default();
    let is_healed = troubles.note(nemesis::run(&mut rig, kinds, end, &mut faults).await);
    troubles.note(work.end().await);
    eprintln!("{} operations; reading the books", log.len());

    // What replicas still do for callers that have left is done when they have ended.
    for replica in &mut rig.replicas {
        troubles.note(replica.stop().await);
    }
    if !is_healed && let Some(fault) = faults.last_mut() {
        fault.to = Micros::now();
    }
    let mut books = Books::default();
    troubles.note(books_of(&rig.postgres).await.map(|read| books = read));
    let Troubles { mut incidents, failure } = troubles;
    incidents.append(&mut rig.incidents);
    Ok((History { records: log.take(), faults, incidents, books }, failure))
}

async fn books_of(postgres: &Postgres) -> Result<Books, Error> {
    read_books(&postgres.connect().await?).await
}

/// What goes wrong in a run.
#[derive(Debug, Default)]
struct Troubles {
    /// ... with the service: violations.
    incidents: Vec<Incident>,
    /// ... first, with anything else: the run shows less than it was to.
    failure: Option<Error>,
}

impl Troubles {
    /// Notes how something ended. Whether it ended well.
    fn note(&mut self, result: Result<(), Error>) -> bool {
        let is_well = result.is_ok();
        match result {
            Ok(()) => {}
            Err(Error::Service(incident)) => self.incidents.push(incident),
            Err(error) => drop(self.failure.get_or_insert(error)),
        }
        is_well
    }
}
