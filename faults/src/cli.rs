//! Commands and flags.

use crate::history::Kind;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Runs keypool under faults, and checks that it hands each package out once and loses nothing.
///
/// Three replicas and a PostgreSQL of the run's own are killed, frozen, cut off and misled, one fault after the other, while
/// clients of the SDK reserve, spend and upload. Every call is written down, and what it all comes to is checked. Exits with 1
/// if a promise was broken, and with 2 if nothing could be shown.
#[derive(Debug, Parser)]
#[command(name = "keypool-faults", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// What to do instead of a run.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The run.
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// What to do instead of a run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a history that a run has written
    Check {
        /// The file
        history: PathBuf,
    },
    /// Be a replica
    #[command(hide = true)]
    Replica {
        /// By how many microseconds the machine's clock is off
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        clock: i64,
    },
}

/// How a run is made.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunOptions {
    /// How long faults are injected; longer if it takes longer until there was one of each kind
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) seconds: u64,
    /// What everything random is made from: faults, their times, and what clients do [default: a random one]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// The faults, separated by commas [default: all]
    #[arg(long, value_name = "KINDS", value_delimiter = ',', hide_default_value = true)]
    pub(crate) faults: Vec<Kind>,
    /// How many clients work
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u32).range(4..=256))]
    pub(crate) clients: u32,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the history to a file, as a JSON object in each line
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// The `keypool` that replicas run, and that an upgrade brings [default: the service in this program, whose clock can be
    /// moved]
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
    /// The older `keypool` that replicas run before an upgrade [default: the same as after it]
    #[arg(long, value_name = "PATH")]
    pub(crate) previous: Option<PathBuf>,
}
