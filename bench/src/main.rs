//! `keypool-bench`: drives keypool, and compares it with what it could be.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`cli`] | commands and flags |
//! | [`compare`], [`scale`], [`overload`], [`load`] | the commands |
//! | [`subject`] | what is measured: callers, each of which makes one call after another |
//! | [`drive`] | measures callers: calls in flight, latency, CPU time, WAL |
//! | [`check`] | keypool's promises, checked on every answer, and the books at the end |
//! | [`database`] | a private PostgreSQL, and rows in it |
//! | [`child`] | the services that are measured, as processes of their own |
//! | [`report`] | medians, tables, JSON, plots |

mod check;
mod child;
mod cli;
mod compare;
mod database;
mod drive;
mod error;
mod load;
mod overload;
mod report;
mod rig;
mod scale;
mod subject;

use clap::Parser;
use cli::{Cli, Command};
use error::{Error, Outcome};
use std::{error::Error as _, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// What the process exits with if it could not measure. 1 is for a broken promise.
const COULD_NOT_RUN: u8 = 2;

/// What the service is shipped with, for all that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(Outcome::Kept) => ExitCode::SUCCESS,
        Ok(Outcome::Broken) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("keypool-bench: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// Runs a command.
async fn run(command: Command) -> Result<Outcome, Error> {
    match command {
        Command::Compare(options) => until_interrupted(compare::run(options)).await,
        Command::Scale(options) => until_interrupted(scale::run(options)).await,
        Command::Overload(options) => until_interrupted(overload::run(options)).await,
        Command::Load(options) => until_interrupted(load::run(options)).await,
        // These know themselves when to end.
        Command::ServeKeypool => child::keypool::serve().await,
        Command::ServeEcho { answer } => child::echo::serve(&answer).await,
        Command::Guard { folder } => child::guard::watch(&folder).await,
    }
}

/// Measures until a signal comes. Dropping what measures ends the processes that it started.
async fn until_interrupted(
    measuring: impl Future<Output = Result<Outcome, Error>>,
) -> Result<Outcome, Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::io("listen to signals"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::io("listen to signals"))?;
    tokio::select! {
        outcome = Box::pin(measuring) => outcome,
        _ = interrupt.recv() => Err(Error::Interrupted),
        _ = terminate.recv() => Err(Error::Interrupted),
    }
}
