//! Commands and flags.

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;
use std::{path::PathBuf, time::Duration};

/// Drives keypool, and compares it with what it could be.
///
/// Every run checks keypool's promises. It exits with 1 if one was broken or a call failed that must not, and with 2 if it
/// could not measure.
#[derive(Debug, Parser)]
#[command(name = "keypool-bench", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compare keypool with an echo, a prepared statement, and delete-on-read, on one fresh PostgreSQL
    Compare(CompareOptions),
    /// Measure the same reserve with more and more packages stored
    Scale(ScaleOptions),
    /// Offer several times of what keypool can do, and see how much it does
    Overload(OverloadOptions),
    /// Drive a keypool that runs elsewhere, through the SDK
    Load(LoadOptions),
    /// Be the service that is measured
    #[command(hide = true)]
    ServeKeypool,
    /// Be the echo that is measured
    #[command(hide = true)]
    ServeEcho {
        /// The answer to every reserve, percent-encoded
        #[arg(long)]
        answer: String,
    },
    /// Wait for the parent to end, then stop its PostgreSQL and remove the folder
    #[command(hide = true)]
    Guard {
        /// The folder
        folder: PathBuf,
    },
}

/// How calls are made and what is printed: shared by all commands that measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunOptions {
    /// HTTP/2 connections that the calls share
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) connections: u32,
    /// What random users, ids and choices are made from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where and with what is measured: shared by `compare` and `scale`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchOptions {
    /// Folder for the private PostgreSQL, which is removed afterwards [default: the system's temporary folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// An existing, empty database to use; the CPU time of its server is not measured then
    #[arg(long, value_name = "URL", conflicts_with_all = ["data_dir", "postgres_setting", "postgres_bin_dir"])]
    pub(crate) database_url: Option<String>,
    /// Folder with the `initdb` and `postgres` to use [default: the newest that is installed]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) postgres_bin_dir: Option<PathBuf>,
    /// A setting of the private PostgreSQL, like `shared_buffers=1GB`; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub(crate) postgres_setting: Vec<(String, String)>,
    /// A setting of the service, like `database_connections=8`; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub(crate) service_setting: Vec<(String, String)>,
    /// Bytes of each package
    #[arg(long, value_name = "BYTES", default_value_t = 277, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) package_bytes: u32,
    /// How calls are made, and what is printed.
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// Flags of `compare`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompareOptions {
    /// Only 1 and 256 calls in flight and batches of 100, within 50 s
    #[arg(long)]
    pub(crate) quick: bool,
    /// Calls in flight to measure at
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [1, 16, 64, 256], conflicts_with = "quick",
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) in_flight: Vec<u32>,
    /// How often everything is measured; the order alternates, and medians are given
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// How long each measurement lasts; ignored by --quick
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub(crate) window: Duration,
    /// Packages that are stored: 32 for each user [default: 1000000, with --quick 320000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(32_000..))]
    pub(crate) packages: Option<u32>,
    /// Draw throughput and latency to an SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// How long --quick may take in all, the stop apart
    #[arg(long, hide = true, default_value = "45s", value_parser = time)]
    pub(crate) within: Duration,
    /// Where and with what.
    #[command(flatten)]
    pub(crate) bench: BenchOptions,
}

/// Flags of `scale`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScaleOptions {
    /// How many packages are stored, in growing order
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000, 10_000_000],
          value_parser = clap::value_parser!(u32).range(10_000..))]
    pub(crate) sizes: Vec<u32>,
    /// Calls in flight
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) in_flight: u32,
    /// How often each size is measured; medians are given
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// How long each measurement lasts
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub(crate) window: Duration,
    /// Where and with what.
    #[command(flatten)]
    pub(crate) bench: BenchOptions,
}

/// Flags of `overload`.
#[derive(Debug, Clone, Args)]
pub(crate) struct OverloadOptions {
    /// How many times the peak is offered, by time and whatever becomes of it
    #[arg(long, value_name = "NUMBER", default_value_t = 3.0, value_parser = times)]
    pub(crate) times: f64,
    /// Calls in flight at which the peak is looked for, each sending when it was answered
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [256, 1024],
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) in_flight: Vec<u32>,
    /// How long after it was due a call must be answered
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub(crate) deadline: Duration,
    /// HTTP/2 connections, in place of --connections: so many that they keep nothing back
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) senders: u32,
    /// Offer the calls through the SDK, which tries refused ones again and sends fewer while many are refused; else each is
    /// sent once, by a client that knows nothing of that
    #[arg(long)]
    pub(crate) sdk: bool,
    /// Let load generator, service and database share all cores; else each side has half of them for itself
    #[arg(long)]
    pub(crate) together: bool,
    /// How often peak and overload are measured; medians are given
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// How long each measurement lasts
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub(crate) window: Duration,
    /// Packages that are stored: 32 for each user
    #[arg(long, value_name = "COUNT", default_value_t = 320_000, value_parser = clap::value_parser!(u32).range(32_000..))]
    pub(crate) packages: u32,
    /// Where and with what.
    #[command(flatten)]
    pub(crate) bench: BenchOptions,
}

/// Flags of `load`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadOptions {
    /// The service; may be repeated for several replicas
    #[arg(
        long,
        env = "KEYPOOL_ENDPOINT",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:50051"
    )]
    pub(crate) endpoint: Vec<String>,
    /// Whom to trust, and who to be.
    #[command(flatten)]
    pub(crate) access: crate::load::Access,
    /// Shares of reserve, spend (a reserve and its spend) and upload, as `reserve=8,spend=1,upload=1`
    #[arg(long, value_name = "SHARES", default_value = "reserve=8,spend=1,upload=1")]
    pub(crate) mix: crate::load::Mix,
    /// Calls in flight
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) in_flight: u32,
    /// Users, with one device each
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) users: u32,
    /// How the names of the users begin, before a number of six digits [default: like no other run's]
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// Packages that each user gets first; with 0, which needs --prefix, those that are there are used
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub(crate) prepare: u32,
    /// How long to drive
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) duration: Duration,
    /// How long each reserve holds
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub(crate) ttl: Duration,
    /// How calls are made, and what is printed.
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// Reads `name=value`.
fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}

/// Reads how many times something is done.
fn times(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|times| (0.1..=100.0).contains(times))
        .ok_or_else(|| "must be a number from 0.1 to 100".to_owned())
}

/// Reads a time like `5s`, `1500ms` or `2m`.
fn time(text: &str) -> Result<Duration, String> {
    let time: SignedDuration = text.parse().map_err(|_| "must be a time like 5s or 1500ms")?;
    Duration::try_from(time)
        .ok()
        .filter(|time| (Duration::from_millis(100)..=Duration::from_secs(86_400)).contains(time))
        .ok_or_else(|| "must be between 100ms and a day".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_and_settings_are_read() {
        assert_eq!(time("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "-1s", "1ms", "2000d"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(setting("a = b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(setting("a").is_err() && setting("=b").is_err());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for wrong in [
            "compare --quick --in-flight 4",
            "compare --in-flight 0",
            "compare --packages 10",
            "compare --database-url x --data-dir y",
            "scale --sizes 1",
            "overload --times 0",
            "load --mix nonsense",
            "load --client-certificate x",
        ] {
            let line = format!("keypool-bench {wrong}");
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{wrong}");
        }
    }
}
