//! The command line.

mod doctor;
mod fence;
mod readiness;
mod status;

use crate::{
    clock::DatabaseClock,
    config::{Config, ConfigError, LogFormat},
    pool::KeyPackagePool,
    roots::{self, Roots},
    server::{Database, Server, ServerError, require_known_schema},
    store::{Purged, SchemaState, Store},
    supervise::Supervisor,
    telemetry::{Telemetry, TraceError},
};
use clap::{CommandFactory, Parser, Subcommand};
use serde::Serialize;
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// Pools one-time MLS KeyPackages in PostgreSQL and hands each of them out exactly once.
///
/// Without a command it serves. Every flag can also be set in the configuration file, or as a variable: KEYPOOL_LISTEN for
/// --listen, KEYPOOL_POOL__TARGET for target in the section pool. Flags win over variables, and variables over the file.
///
/// KEYPOOL_LOG says what is logged, as in `debug` or `keypool_service::lane=trace`; by default `info`. Below that level
/// only keypool itself is ever logged, not the libraries it is made of: they would show what passes through them.
#[derive(Debug, Parser)]
#[command(name = "keypool", version)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalFlags,
    #[command(flatten)]
    serve: ServeFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct GlobalFlags {
    /// Configuration file, in TOML
    #[arg(long, global = true, env = "KEYPOOL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: GlobalSettings,
}

#[derive(Debug, clap::Args, Serialize)]
struct GlobalSettings {
    /// PostgreSQL 15 or newer to use, as postgres://user:password@host/database. Without it, a private one is started
    #[arg(long, global = true, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    database_url: Option<String>,
    /// Where the private PostgreSQL keeps its data
    #[arg(long, global = true, value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// How logs are written to standard error
    #[arg(long, global = true, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Default, clap::Args, Serialize)]
struct ServeFlags {
    /// Where to serve gRPC [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Where to serve /metrics, /livez and /readyz [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_listen: Option<SocketAddr>,
    /// Serve other addresses than loopback, although no caller has to prove who it is
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
    /// Serve plain text on other addresses than loopback, as behind a mesh that encrypts. --insecure implies it
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    plain_text: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until Ctrl-C or SIGTERM
    Serve(ServeFlags),
    /// Bring the database's schema to the newest version
    Migrate {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Count users, devices and packages, and list the lowest pools
    Status(status::StatusFlags),
    /// Purge old rows once
    Sweep {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Quarantine packages by hand after the database lost what it knew, or end that
    Fence {
        #[command(subcommand)]
        action: Option<fence::Action>,
        /// Print a JSON array
        #[arg(long, global = true)]
        json: bool,
    },
    /// Ask the keypool that runs here with this configuration whether it is ready
    Ready,
    /// Look at configuration, certificates, database and network, and say what to do
    Doctor {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration, and print it as it is understood
    CheckConfig,
    /// Write a manual page for each command
    Man {
        /// The folder to write them to
        folder: PathBuf,
    },
    /// Print a script that completes commands and flags in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is wrong.
    #[error("the configuration is wrong")]
    Config(#[from] ConfigError),
    /// The service or its database failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The clocks of this machine and of the database differ too much.
    #[error(
        "the clocks of this machine and of the database differ by more than 2 s: set them right first, or what is still needed is purged"
    )]
    Clocks,
    /// The service that runs here is not ready.
    #[error("not ready: {0}")]
    NotReady(String),
    /// Something that the service depends on is not as it should be.
    #[error("{0} of the findings must be seen to")]
    Unwell(usize),
    /// Traces can't be sent.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// Standard output or signals failed.
    #[error("input or output failed")]
    Io(#[from] io::Error),
}

impl From<crate::store::StoreError> for CliError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Server(error.into())
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// If it fails.
    pub async fn run(self) -> Result<(), CliError> {
        let Self { global, serve, command } = self;
        let command = command.unwrap_or(Command::Serve(ServeFlags::default()));
        if let Command::Completions { shell } = command {
            clap_complete::generate(shell, &mut Self::command(), "keypool", &mut io::stdout());
            return Ok(());
        }
        if let Command::Man { folder } = &command {
            std::fs::create_dir_all(folder)?;
            return Ok(clap_mangen::generate_to(Self::command(), folder)?);
        }
        let serve = match &command {
            Command::Serve(flags) => serve.or(flags),
            _ => serve,
        };
        let flags = Flags { global: &global.settings, serve: &serve };
        let config = match (Config::load(global.config.as_deref(), flags), &command) {
            (Err(error), Command::Doctor { json }) => {
                return doctor::without_configuration(&error, *json);
            }
            (config, _) => config?,
        };
        let telemetry = Telemetry::start(&config)?;
        let result = Box::pin(command.run(&config)).await;
        telemetry.stop().await;
        result
    }
}

impl Command {
    async fn run(self, config: &Config) -> Result<(), CliError> {
        match self {
            Self::Serve(_) => serve(config).await,
            Self::Migrate { json } => migrate(config, json).await,
            Self::Status(flags) => status::run(config, &flags).await,
            Self::Sweep { json } => sweep(config, json).await,
            Self::Fence { action, json } => {
                fence::run(config, action.unwrap_or_default(), json).await
            }
            Self::Ready => readiness::run(config).await,
            Self::Doctor { json } => doctor::run(config, json).await,
            Self::CheckConfig => check_config(config),
            Self::Man { .. } | Self::Completions { .. } => Ok(()),
        }
    }
}

impl ServeFlags {
    fn or(self, other: &Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            admin_listen: self.admin_listen.or(other.admin_listen),
            insecure: self.insecure || other.insecure,
            plain_text: self.plain_text || other.plain_text,
        }
    }
}

/// The flags as one layer of the configuration.
#[derive(Serialize)]
struct Flags<'a> {
    #[serde(flatten)]
    global: &'a GlobalSettings,
    #[serde(flatten)]
    serve: &'a ServeFlags,
}

async fn serve(config: &Config) -> Result<(), CliError> {
    // Before anything is started, so that a signal during the start is not missed.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut server = Server::listen(config, Arc::new(DatabaseClock::default())).await?;
    let served = tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        error = announce(&mut server, config) => Err(error),
    };
    let stopped = server.stop().await;
    served?;
    Ok(stopped?)
}

/// Tells how the service does, until it can't go on.
async fn announce(server: &mut Server, config: &Config) -> CliError {
    let told = async {
        let obstacle = server.contacted().await?;
        greet(server, config, obstacle.as_deref())?;
        if obstacle.is_some() {
            server.ready().await?;
            writeln!(io::stdout(), "keypool ready")?;
        }
        Ok(())
    };
    match told.await {
        Ok(()) => server.failed().await.into(),
        Err(error) => error,
    }
}

/// Tells where the service is, once it is ready or has found why it has to wait. The first line is for programs, the others are
/// for people.
fn greet(server: &Server, config: &Config, obstacle: Option<&str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (scheme, address) = (server.scheme(), server.address());
    writeln!(out, "keypool listening on {address}")?;
    writeln!(
        out,
        "  health and metrics: http://{}/readyz, /livez, /metrics",
        server.admin_address()
    )?;
    if let Some(data_dir) = server.data_dir() {
        writeln!(
            out,
            "  data directory:     {} (a private PostgreSQL, kept between runs)",
            data_dir.display()
        )?;
    }
    if config.auth.is_required() || config.tls.is_some() {
        let proof = if config.auth.is_required() { "prove who they are" } else { "are anybody" };
        writeln!(out, "  callers:            connect to {scheme}://{address}, and {proof}")?;
    } else {
        writeln!(out, "  try, in another terminal:")?;
        let example = "cargo run --release --example invite";
        writeln!(out, "    KEYPOOL_ENDPOINT={scheme}://{address} {example}")?;
        writeln!(out, "    grpcurl -plaintext {address} describe keypool.v1.KeyPackageService")?;
    }
    if let Some(obstacle) = obstacle {
        writeln!(out, "  not ready yet:      {obstacle}; a line will say when it is")?;
    }
    writeln!(out, "  stop with Ctrl-C")?;
    out.flush()
}

async fn migrate(config: &Config, json: bool) -> Result<(), CliError> {
    let database = Database::open(config).await?;
    let before = database.migrate().await;
    database.close().await?;
    let migrated = matches!(before?, SchemaState::Behind { .. });
    match (json, migrated) {
        (true, _) => print(&serde_json::json!({ "migrated": migrated }), true)?,
        (false, true) => writeln!(io::stdout(), "the schema was migrated")?,
        (false, false) => writeln!(io::stdout(), "the schema is up to date")?,
    }
    Ok(())
}

async fn sweep(config: &Config, json: bool) -> Result<(), CliError> {
    let policy = config.policy()?;
    let purged = with_store(config, async |store| {
        let tasks = Supervisor::default();
        let pool = KeyPackagePool::new(store, policy, &tasks);
        tasks.let_end();
        let mut total = Purged::default();
        loop {
            let purged = pool.sweep_if_clocks_agree().await.map_err(sweep_error)?;
            let purged = purged.ok_or(CliError::Clocks)?;
            total += purged;
            if purged == Purged::default() {
                return Ok(total);
            }
        }
    })
    .await?;
    print(&purged, json)
}

fn sweep_error(error: crate::pool::PoolError) -> CliError {
    CliError::Io(io::Error::other(error))
}

fn check_config(config: &Config) -> Result<(), CliError> {
    // A configuration may be checked on another machine than it is for, where the files are not.
    for (setting, file) in roots::files(config)?.into_iter().filter(|(_, file)| file.exists()) {
        Roots::read(setting, &file).map_err(ServerError::from)?;
    }
    let mut shown = serde_json::to_value(config).map_err(io::Error::other)?;
    if let Some(url) = shown.get_mut("database_url").filter(|url| !url.is_null()) {
        *url = "(set; not shown)".into();
    }
    print(&shown, true)
}

/// Runs something on the store of the configured database, and closes both.
async fn with_store<T>(
    config: &Config,
    run: impl AsyncFnOnce(Store) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let database = Database::open(config).await?;
    let store = Store::new(
        database.connector().clone(),
        Arc::new(DatabaseClock::default()),
        1,
        Duration::from_secs(5),
    )?;
    let result = match require_known_schema(&store).await {
        Ok(()) => run(store.clone()).await,
        Err(error) => Err(error.into()),
    };
    store.close();
    database.close().await?;
    result
}

/// Prints a value as JSON, or its fields line by line.
fn print(value: &impl Serialize, json: bool) -> Result<(), CliError> {
    let value = serde_json::to_value(value).map_err(io::Error::other)?;
    let mut out = io::stdout().lock();
    match value.as_object() {
        Some(fields) if !json => {
            for (name, field) in fields {
                writeln!(out, "{:<22}{field}", name.replace('_', " "))?;
            }
        }
        _ => writeln!(out, "{value:#}")?,
    }
    Ok(())
}
