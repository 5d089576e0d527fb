//! `keypool-faults`: evidence that keypool hands each package out once and loses nothing.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`cli`] | commands and flags |
//! | [`run`] | a run: everything below, put together |
//! | [`work`] | the workload: clients of the SDK that invite, and devices that keep their pools |
//! | [`nemesis`] | what breaks things: one fault after the other |
//! | [`processes`] | three replicas, and a PostgreSQL of the run's own |
//! | [`network`] | proxies between them that fail on demand |
//! | [`history`] | what happened: every call, every fault, and what the database has in the end |
//! | [`check`] | decides whether the promises explain it |
//! | [`report`] | says so, as a table or as JSON |

mod check;
mod cli;
mod error;
mod history;
mod nemesis;
mod network;
mod processes;
mod report;
mod run;
mod work;

use clap::Parser;
use cli::{Cli, Command};
use error::{COULD_NOT_RUN, Error, Outcome};
use std::{error::Error as _, io::IsTerminal, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What the service is shipped with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("KEYPOOL_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match execute(Cli::parse()).await {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("keypool-faults: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// Executes a command.
async fn execute(cli: Cli) -> Result<Outcome, Error> {
    match cli.command {
        None => until_interrupted(run::run(&cli.run)).await,
        Some(Command::Check { history }) => run::check_file(&history),
        Some(Command::Replica { clock }) => {
            Box::pin(processes::serve::serve(clock)).await.map(|()| Outcome::Kept)
        }
    }
}

/// Runs until a signal comes. Dropping a run ends the processes that it started.
async fn until_interrupted(
    running: impl Future<Output = Result<Outcome, Error>>,
) -> Result<Outcome, Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::io("listen to signals"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::io("listen to signals"))?;
    tokio::select! {
        outcome = Box::pin(running) => outcome,
        _ = interrupt.recv() => Err(Error::Interrupted),
        _ = terminate.recv() => Err(Error::Interrupted),
    }
}
