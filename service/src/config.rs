//! Configuration: a TOML file, then `KEYPOOL_…` environment variables, then flags. Unknown keys are errors.

use crate::{
    lane::LaneOptions,
    pool::{
        Policy,
        validation::{IdentityTemplate, ValidationPolicy},
    },
};
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Variables that begin like ours and aren't: those of clients, of this program's own flags, and those that Kubernetes
/// sets for a Service called `keypool`.
fn is_foreign(key: &str) -> bool {
    ["endpoint", "config", "log"].contains(&key)
        || key.starts_with("service_")
        || key == "port"
        || key.starts_with("port_")
}

/// Everything that can be configured. Spans are written like `60s`, `10m` or `48h`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where gRPC is served. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` are served. Port 0 takes a free one.
    pub admin_listen: SocketAddr,
    /// The PostgreSQL to use. Without it, a private one is started under the data directory.
    pub database_url: Option<DatabaseUrl>,
    /// Connections to the database.
    pub database_connections: usize,
    /// Whether `serve` brings the schema to its newest version. Without it, `serve` refuses an older schema.
    pub migrate_on_start: bool,
    /// Where the private PostgreSQL keeps its data.
    pub data_dir: Option<PathBuf>,
    /// The folder with `initdb` and `postgres` for the private PostgreSQL. Without it, the usual places are searched.
    pub postgres_bin_dir: Option<PathBuf>,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Serve other addresses than loopback although no caller has to prove who it is.
    pub insecure: bool,
    /// How long calls under way may take to finish when the service stops.
    pub drain_timeout: SignedDuration,
    /// How often old rows are purged.
    pub sweep_interval: SignedDuration,
    /// The rules of the pools.
    pub pool: PoolConfig,
    /// What uploaded packages must satisfy.
    pub validation: ValidationConfig,
    /// How much one caller, and all of them, may ask for.
    pub limits: LimitsConfig,
    /// How calls are gathered into statements.
    pub lanes: LaneOptions,
}

/// The rules of the pools.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// How many one-time packages of each cipher suite a device should have.
    pub target: u32,
    /// A pool with fewer available one-time packages is low.
    pub low_watermark: u32,
    /// How many one-time packages of each cipher suite a device may have.
    pub cap: u32,
    /// How long a hold lasts if the request doesn't say.
    pub default_hold: SignedDuration,
    /// The shortest hold that a request may ask for.
    pub min_hold: SignedDuration,
    /// The longest hold that a request may ask for.
    pub max_hold: SignedDuration,
    /// Packages that expire within this time are counted as expiring soon.
    pub expiring_soon: SignedDuration,
    /// How long after its revocation a package may still be spent under an earlier hold.
    pub revocation_grace: SignedDuration,
    /// How long an expired package is still counted.
    pub keep_expired: SignedDuration,
    /// How long an entry of the spend log is kept.
    pub spend_log_retention: SignedDuration,
}

/// What uploaded packages must satisfy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationConfig {
    /// The most bytes of one package.
    pub max_bytes: usize,
    /// The longest lifetime.
    pub max_lifetime: SignedDuration,
    /// A package with less lifetime left is neither accepted nor handed out.
    pub min_remaining: SignedDuration,
    /// How a basic credential's identity spells user and device.
    pub credential_identity: String,
}

/// How much one caller, and all of them, may ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// How many live holds one holder may have on one device.
    pub holds_per_holder_and_device: u32,
    /// How many calls may wait for the database; any further one is refused at once.
    pub calls_in_flight: usize,
    /// How many pools may be watched at the same time.
    pub watches: usize,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the database is, and with which password: never shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Wraps an URL or a list of `key=value` pairs, as libpq takes them.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self(url)
    }

    /// Reads the URL.
    ///
    /// # Errors
    /// If it isn't one. The error does not show it.
    pub fn parse(&self) -> Result<tokio_postgres::Config, ConfigError> {
        self.0.parse().map_err(|_shows_the_url: tokio_postgres::Error| ConfigError::DatabaseUrl)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file, variable or flag can't be read, is of the wrong type, or is unknown.
    #[error("{0}")]
    Unreadable(Box<figment::Error>),
    /// The database URL isn't one.
    #[error("database_url: not a PostgreSQL URL such as postgres://user:password@host/database")]
    DatabaseUrl,
    /// Values contradict each other or their limits: what is wrong, one sentence for each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 50051).into(),
            admin_listen: (Ipv4Addr::LOCALHOST, 9090).into(),
            database_url: None,
            database_connections: 16,
            migrate_on_start: true,
            data_dir: None,
            postgres_bin_dir: None,
            log_format: LogFormat::Auto,
            insecure: false,
            drain_timeout: SignedDuration::from_secs(3),
            sweep_interval: SignedDuration::from_secs(60),
            pool: PoolConfig::default(),
            validation: ValidationConfig::default(),
            limits: LimitsConfig::default(),
            lanes: LaneOptions::default(),
        }
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            target: policy.target,
            low_watermark: policy.low_watermark,
            cap: policy.cap,
            default_hold: policy.default_hold,
            min_hold: policy.min_hold,
            max_hold: policy.max_hold,
            expiring_soon: policy.expiring_soon,
            revocation_grace: policy.revocation_grace,
            keep_expired: policy.keep_expired,
            spend_log_retention: policy.spend_log_retention,
        }
    }
}

impl Default for ValidationConfig {
    fn default() -> Self {
        let policy = ValidationPolicy::default();
        Self {
            max_bytes: policy.max_bytes,
            max_lifetime: policy.max_lifetime,
            min_remaining: policy.min_remaining,
            credential_identity: policy.identity.to_string(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            holds_per_holder_and_device: policy.max_holds_per_device,
            calls_in_flight: policy.max_calls_in_flight,
            watches: policy.max_watches,
        }
    }
}

impl Config {
    /// Reads a file, if one is given, then the environment, then `flags`, of which absent ones must not be serialized.
    ///
    /// # Errors
    /// If anything can't be read, is unknown, or contradicts its limits.
    pub fn load(file: Option<&Path>, flags: impl Serialize) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment = Env::prefixed("KEYPOOL_")
            .filter(|key| !is_foreign(&key.as_str().to_lowercase()))
            .split("__");
        let config: Self = figment
            .merge(environment)
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| ConfigError::Unreadable(Box::new(error)))?;
        config.check()?;
        Ok(config)
    }

    /// Checks what types can't say.
    ///
    /// # Errors
    /// If values contradict each other or their limits, with all that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.policy()?;
        if let Some(url) = &self.database_url {
            url.parse()?;
        }
        let pool = &self.pool;
        let rules = [
            (
                self.insecure || self.listen.ip().is_loopback(),
                "listen: without authentication only loopback addresses are served; pass --insecure to serve any",
            ),
            (self.database_connections > 0, "database_connections: must be at least 1"),
            (pool.low_watermark <= pool.target, "pool.low_watermark: must be at most pool.target"),
            (pool.target <= pool.cap, "pool.target: must be at most pool.cap"),
            (
                pool.min_hold > SignedDuration::ZERO && pool.min_hold <= pool.default_hold,
                "pool.min_hold: must be positive and at most pool.default_hold",
            ),
            (
                pool.default_hold <= pool.max_hold,
                "pool.default_hold: must be at most pool.max_hold",
            ),
            (self.sweep_interval > SignedDuration::ZERO, "sweep_interval: must be positive"),
            (
                [
                    self.drain_timeout,
                    pool.expiring_soon,
                    pool.revocation_grace,
                    pool.keep_expired,
                    pool.spend_log_retention,
                    self.validation.min_remaining,
                ]
                .iter()
                .all(|span| !span.is_negative() && *span <= SignedDuration::from_hours(24 * 3660)),
                "spans must not be negative, and at most ten years",
            ),
            (
                self.validation.max_lifetime > self.validation.min_remaining,
                "validation.max_lifetime: must be longer than validation.min_remaining",
            ),
            (
                [self.lanes.reserve, self.lanes.hold, self.lanes.upload]
                    .iter()
                    .all(|lanes| (1..=64).contains(lanes)),
                "lanes.reserve, lanes.hold, lanes.upload: must be 1 to 64",
            ),
            (
                (1..=10_000).contains(&self.lanes.batch_packages),
                "lanes.batch_packages: must be 1 to 10000",
            ),
            (
                (100..=1_000_000).contains(&self.lanes.queue_packages),
                "lanes.queue_packages: must be 100, which is one call, to 1000000",
            ),
            (
                (1..=64 * 1024).contains(&self.validation.max_bytes),
                "validation.max_bytes: must be 1 to 65536",
            ),
        ];
        let broken: Vec<String> =
            rules.iter().filter(|(holds, _)| !holds).map(|(_, rule)| (*rule).to_owned()).collect();
        if broken.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(broken)) }
    }

    /// The rules of the pools.
    ///
    /// # Errors
    /// If the template for credentials can't be read.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        let identity: IdentityTemplate =
            self.validation.credential_identity.parse().map_err(|error| {
                ConfigError::Invalid(vec![format!("validation.credential_identity: {error}")])
            })?;
        Ok(Policy {
            target: self.pool.target,
            low_watermark: self.pool.low_watermark,
            cap: self.pool.cap,
            default_hold: self.pool.default_hold,
            min_hold: self.pool.min_hold,
            max_hold: self.pool.max_hold,
            expiring_soon: self.pool.expiring_soon,
            revocation_grace: self.pool.revocation_grace,
            keep_expired: self.pool.keep_expired,
            spend_log_retention: self.pool.spend_log_retention,
            max_holds_per_device: self.limits.holds_per_holder_and_device,
            max_calls_in_flight: self.limits.calls_in_flight,
            max_watches: self.limits.watches,
            lanes: self.lanes.clone(),
            validation: ValidationPolicy {
                max_bytes: self.validation.max_bytes,
                max_lifetime: self.validation.max_lifetime,
                min_remaining: self.validation.min_remaining,
                identity,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[derive(Serialize)]
    struct NoFlags {}

    fn load(toml: &str) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        Config::load(Some(file.path()), NoFlags {})
    }

    #[test]
    fn a_file_changes_what_it_names() {
        let config =
            load("listen = '127.0.0.1:1234'\n[pool]\ntarget = 40\ndefault_hold = '30s'").unwrap();
        assert_eq!(config.listen.port(), 1234);
        assert_eq!(config.pool.target, 40);
        assert_eq!(config.pool.default_hold, SignedDuration::from_secs(30));
        assert_eq!(config.pool.cap, 64);
    }

    #[test]
    fn unknown_keys_are_errors() {
        let error = load("[pool]\ntargets = 40").unwrap_err().to_string();
        assert!(error.contains("targets"), "{error}");
    }

    #[test]
    fn contradictions_are_all_reported() {
        let error = load("listen = '0.0.0.0:1'\n[pool]\ntarget = 100").unwrap_err().to_string();
        assert!(error.contains("--insecure") && error.contains("pool.cap"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = load("database_url = 'postgres://me:hunter2@nowhere/keypool'").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let error = load("database_url = 'hunter2'").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        for foreign in ["endpoint", "service_host", "port", "port_50051_tcp"] {
            assert!(is_foreign(foreign), "{foreign}");
        }
        assert!(!is_foreign("listen"));
    }
}
