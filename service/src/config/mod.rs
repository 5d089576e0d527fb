//! Configuration: a TOML file, then `KEYPOOL_…` environment variables, then flags. Unknown keys are errors.

mod auth;
mod check;
mod database_tls;
mod database_url;
mod error;
mod limits;
mod log_format;
mod policy;
mod pool;
mod spans;
mod telemetry;
mod tls;
mod validation;

pub use auth::{
    Audience, AuthConfig, CertificateConfig, CertificatePattern, JwksLocation, TokenType,
    TokensConfig,
};
pub use database_tls::DatabaseTlsConfig;
pub use database_url::{DatabaseUrl, DatabaseUrlError};
pub use error::ConfigError;
pub use limits::LimitsConfig;
pub use log_format::LogFormat;
pub use pool::PoolConfig;
pub use telemetry::TelemetryConfig;
pub use tls::{ClientCertificates, TlsConfig};
pub use validation::ValidationConfig;

use crate::lane::LaneOptions;
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::{
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
    /// A file with the password for [`Self::database_url`], which wins over one in the URL. Read anew for each connection, so
    /// that the password may change while the service runs.
    pub database_password_file: Option<PathBuf>,
    /// Connections to the database.
    pub database_connections: usize,
    /// Whether standbys of the database replicate synchronously: one that takes over has every commit that was acknowledged.
    /// Without it, a promotion quarantines one-time packages until their devices have reconciled.
    pub synchronous_standbys: bool,
    /// Whether `serve` brings the schema to its newest version. Without it, `serve` refuses an older schema.
    pub migrate_on_start: bool,
    /// The role that the service runs as, if another one owns the tables. Whoever migrates gives it the rights that it needs,
    /// and no other.
    pub runtime_role: Option<String>,
    /// Where the private PostgreSQL keeps its data.
    pub data_dir: Option<PathBuf>,
    /// The folder with `initdb` and `postgres` for the private PostgreSQL. Without it, the usual places are searched.
    pub postgres_bin_dir: Option<PathBuf>,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Serve other addresses than loopback although no caller has to prove who it is.
    pub insecure: bool,
    /// Serve plain text on other addresses than loopback, as behind a mesh that encrypts. `insecure` implies it.
    pub plain_text: bool,
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
    /// How callers prove who they are.
    pub auth: AuthConfig,
    /// TLS for callers. Without it, gRPC is served in plain text.
    pub tls: Option<TlsConfig>,
    /// TLS to PostgreSQL.
    pub database_tls: DatabaseTlsConfig,
    /// Where traces go.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 50051).into(),
            admin_listen: (Ipv4Addr::LOCALHOST, 9090).into(),
            database_url: None,
            database_password_file: None,
            database_connections: 16,
            synchronous_standbys: false,
            migrate_on_start: true,
            runtime_role: None,
            data_dir: None,
            postgres_bin_dir: None,
            log_format: LogFormat::Auto,
            insecure: false,
            plain_text: false,
            drain_timeout: SignedDuration::from_secs(3),
            sweep_interval: SignedDuration::from_secs(60),
            pool: PoolConfig::default(),
            validation: ValidationConfig::default(),
            limits: LimitsConfig::default(),
            lanes: LaneOptions::default(),
            auth: AuthConfig::default(),
            tls: None,
            database_tls: DatabaseTlsConfig::default(),
            telemetry: TelemetryConfig::default(),
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, time::Duration};

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

    /// Else a full pool would serve holders that come for the first time, and no other.
    #[test]
    fn a_full_pool_has_packages_above_its_low_watermark() {
        let says = |low: u32, target: u32, cap: u32| {
            let toml = format!("[pool]\nlow_watermark = {low}\ntarget = {target}\ncap = {cap}");
            load(&toml).err().map(|error| error.to_string()).unwrap_or_default()
        };
        for (low, target, cap) in [(4, 4, 4), (4, 4, 9), (5, 4, 9), (4, 9, 4), (1, 1, 1), (1, 0, 1)]
        {
            let error = says(low, target, cap);
            assert!(error.contains("pool.low_watermark: must be 0, or less"), "{error}");
        }
        for (low, target, cap) in [(3, 4, 4), (0, 4, 4), (0, 0, 4), (0, 1, 1), (0, 0, 0)] {
            assert_eq!(says(low, target, cap), "");
        }
    }

    #[test]
    fn plain_text_is_for_loopback_or_asked_for() {
        let listen = "insecure = false\nlisten = '0.0.0.0:1'\n";
        let says = |toml: &str| match load(&format!("{listen}{toml}")) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let rule = "plain text is served on loopback addresses only";
        assert!(says("").contains(rule), "{}", says(""));
        assert!(!says("plain_text = true").contains(rule));
        assert!(!says("[tls]\ncertificate = 'a'\nkey = 'b'").contains(rule));
        load("insecure = true\nlisten = '0.0.0.0:1'").unwrap();
        load("listen = '127.0.0.2:1'").unwrap();
    }

    #[test]
    fn certificates_come_with_what_they_need() {
        for (toml, missing) in [
            ("[tls]\ncertificate = 'a'", "key"),
            ("[tls]\nkey = 'a'", "certificate"),
            ("[tls]\ncertificate = 'a'\nkey = 'b'\nclient_certificates = 'required'", "client_ca"),
            ("[tls]\ncertificate = 'a'\nkey = 'b'\nreload_interval = '0s'", "reload_interval"),
            ("[tls]\ncertificate = 'a'\nkey = 'b'\nca = 'c'", "unknown field: found `ca`"),
            ("[database_tls]\ncertificate = 'a'", "database_tls.key"),
            ("database_url = 'host=db sslcert=a'", "database_tls.key"),
            ("database_url = 'host=db sslrootcert=a'\n[database_tls]\nca = 'b'", "sslrootcert"),
            ("database_password_file = 'a'", "needs database_url"),
            ("[database_tls]\nroots = 'a'", "unknown field: found `roots`"),
        ] {
            let error = load(toml).unwrap_err().to_string();
            assert!(error.contains(missing), "{toml}: {error}");
        }
        let good = "[tls]\ncertificate = 'a'\nkey = 'b'\nclient_ca = 'c'\nclient_certificates = 'required'";
        let one_pair =
            "database_url = 'host=db sslcert=a sslrootcert=c'\n[database_tls]\nkey = 'b'\nca = 'c'";
        let database_tls = load(one_pair).unwrap().database_tls().unwrap();
        assert!(database_tls.certificate.is_some() && database_tls.key.is_some());
        let tls = load(good).unwrap().tls.unwrap();
        assert_eq!(tls.client_certificates, Some(ClientCertificates::Required));
        assert_eq!(tls.reload_interval, SignedDuration::from_secs(10));
    }

    #[test]
    fn limits_are_limited() {
        for toml in [
            "connections = 0",
            "streams_per_connection = 1",
            "header_bytes = 10",
            "message_bytes = 10",
            "call_timeout = '0s'",
            "handshake_timeout = '0s'",
            "idle_timeout = '2d'",
            "write_timeout = '-1s'",
            "connection_age = '2d'",
        ] {
            let error = load(&format!("[limits]\n{toml}")).unwrap_err().to_string();
            assert!(error.contains(toml.split(' ').next().unwrap()), "{toml}: {error}");
        }
    }

    #[test]
    fn identities_tell_users_and_devices_apart() {
        let template = |text: &str| load(&format!("[validation]\ncredential_identity = '{text}'"));
        for text in ["{user_id}{device_id}", "x{device_id}{user_id}", "{user_id}/{user_id}"] {
            let error = template(text).unwrap_err().to_string();
            assert!(error.contains("validation.credential_identity: "), "{text}: {error}");
        }
        template("{device_id}::{user_id}").unwrap();
    }

    #[test]
    fn connections_end_unless_they_may_stay() {
        let age = |toml: &str| load(toml).unwrap().limits.oldest_connection();
        assert_eq!(age(""), Some(Duration::from_secs(60 * 60)));
        assert_eq!(age("[limits]\nconnection_age = '30m'"), Some(Duration::from_secs(30 * 60)));
        assert_eq!(age("[limits]\nconnection_age = '0s'"), None);
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
