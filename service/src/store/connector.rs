use super::{
    StoreError,
    settings::{self, Purpose, Schema},
};
use deadpool_postgres::{Connect, Manager, ManagerConfig, RecyclingMethod};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::{
    fmt,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_postgres::{
    Client, Config, Connection, Error, Socket,
    config::{Host, SslMode},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long the database may take for the simplest answer, or to let somebody in whose connection it has accepted.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a host may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// After how long without a word TCP asks whether the other end is still there, and how often after that.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));

/// How long what was sent may stay without acknowledgement before the connection counts as broken. Linux only.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

/// What PostgreSQL sees in `pg_stat_activity`, unless the configuration says another name.
const APPLICATION_NAME: &str = "keypool";

/// TLS that would trust nobody, for connections that have none.
static NO_TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of every version")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(tls)
});

/// What proves who we are, and who the database is.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The password; none for the one in the configuration, if there is one.
    pub password: Option<Vec<u8>>,
    /// How TLS is done. Without it, a connection that needs TLS trusts nobody.
    pub tls: Option<Arc<ClientConfig>>,
}

/// How to connect to one database: in plain text, or by TLS and no other way. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    config: Config,
    credentials: Arc<dyn Fn() -> Credentials + Send + Sync>,
    schema: Schema,
}

impl Connector {
    /// In plain text, whatever `sslmode` says, and with the password of the configuration.
    #[must_use]
    pub fn plain(config: Config) -> Self {
        Self::by(SslMode::Disable, config, Credentials::default)
    }

    /// By TLS if that is needed, with credentials that are asked for anew for each connection. The name that the server's
    /// certificate must be for is the host's.
    #[must_use]
    pub fn new(
        config: Config,
        credentials: impl Fn() -> Credentials + Send + Sync + 'static,
    ) -> Self {
        let mode = if needs_tls(&config) { SslMode::Require } else { SslMode::Disable };
        Self::by(mode, config, credentials)
    }

    /// Sees to it that a connection which dies without a word is found out, where the configuration does not say how.
    fn by(
        mode: SslMode,
        mut config: Config,
        credentials: impl Fn() -> Credentials + Send + Sync + 'static,
    ) -> Self {
        config.ssl_mode(mode);
        let unset = Config::new();
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION_NAME);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNACKNOWLEDGED);
        }
        if config.get_keepalives_idle() == unset.get_keepalives_idle() {
            config.keepalives_idle(KEEPALIVE.0);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(KEEPALIVE.1);
        }
        Self { config, credentials: Arc::new(credentials), schema: Schema::default() }
    }

    /// How long connecting may take, or the simplest answer.
    pub(crate) fn patience(&self) -> Duration {
        let hosts = self.config.get_hosts().len().max(self.config.get_hostaddrs().len()).max(1);
        let connecting = self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        (connecting + PATIENCE) * u32::try_from(hosts).unwrap_or(u32::MAX)
    }

    /// Makes a connection, with the credentials of this moment. Its settings are yet to be pinned.
    ///
    /// # Errors
    /// If the database can't be reached or refuses.
    pub async fn connect(&self) -> Result<(Client, TlsConnection), Error> {
        let Credentials { password, tls } = (self.credentials)();
        let tls = tls.unwrap_or_else(|| NO_TLS.clone());
        let mut config = self.config.clone();
        if let Some(password) = password {
            config.password(password);
        }
        settings::connect(&config, MakeRustlsConnect::new(ClientConfig::clone(&tls))).await
    }

    /// Pins all settings of a session that was just made.
    pub(crate) async fn pin(&self, client: &Client, purpose: Purpose) -> Result<(), StoreError> {
        let named = self.config.get_options().is_some_and(|all| all.contains("search_path"));
        settings::pin(client, &self.schema, named, purpose).await
    }

    /// The schema of the tables; empty before the first session was pinned.
    pub(super) fn schema_name(&self) -> &str {
        self.schema.name()
    }

    /// Whether it connects by TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.config.get_ssl_mode() == SslMode::Require
    }

    pub(super) fn manager(&self) -> Manager {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        Manager::from_connect(self.config.clone(), self.clone(), recycling)
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        _config: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(async {
            let (client, connection) = Connector::connect(self).await?;
            let connection = async {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection of the pool ended");
                }
            };
            Ok((client, tokio::spawn(connection)))
        })
    }
}

/// What moves messages between a client and the database, by TLS or not.
pub type TlsConnection = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Whether a database has to be reached by TLS: any over the network unless `sslmode=disable`, one on loopback if
/// `sslmode=require`. Not one on a unix socket, where PostgreSQL has no TLS.
///
/// If one of several hosts has to be, all have.
#[must_use]
pub fn needs_tls(config: &Config) -> bool {
    let is_unix = |host: &Host| matches!(host, Host::Unix(_));
    let addresses = config.get_hostaddrs();
    match config.get_ssl_mode() {
        SslMode::Disable => false,
        SslMode::Require => !addresses.is_empty() || !config.get_hosts().iter().all(is_unix),
        _ if addresses.is_empty() => !config.get_hosts().iter().all(is_local),
        _ => !addresses.iter().all(IpAddr::is_loopback),
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(url: &str) -> bool {
        needs_tls(&url.parse().unwrap())
    }

    #[test]
    fn what_goes_over_the_network_goes_by_tls() {
        for remote in ["db.example", "10.0.0.1", "[2001:db8::1]", "localhost.example"] {
            assert!(needs(&format!("postgres://{remote}/keypool")), "{remote}");
            assert!(needs(&format!("postgres://{remote}/keypool?sslmode=prefer")), "{remote}");
            assert!(needs(&format!("postgres://{remote}/keypool?sslmode=require")), "{remote}");
            assert!(!needs(&format!("postgres://{remote}/keypool?sslmode=disable")), "{remote}");
        }
        assert!(needs("postgres://localhost,db.example/keypool"));
        assert!(needs("host=localhost hostaddr=10.0.0.1"));
    }

    #[test]
    fn loopback_is_plain_unless_asked_otherwise() {
        for local in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"] {
            assert!(!needs(&format!("postgres://{local}/keypool")), "{local}");
            assert!(needs(&format!("postgres://{local}/keypool?sslmode=require")), "{local}");
        }
        assert!(!needs("host=db.example hostaddr=127.0.0.1"));
    }

    #[test]
    fn unix_sockets_are_plain() {
        assert!(!needs("postgres://%2Frun%2Fpostgresql/keypool"));
        assert!(!needs("host=/run/postgresql sslmode=require"));
    }

    #[test]
    fn connections_that_die_without_a_word_are_found_out() {
        let config = |url: &str| Connector::plain(url.parse().unwrap()).config;
        let plain = config("postgres://db.example");
        assert!(plain.get_keepalives() && plain.get_keepalives_idle() == KEEPALIVE.0);
        assert_eq!(plain.get_keepalives_interval(), Some(KEEPALIVE.1));
        assert_eq!(plain.get_tcp_user_timeout(), Some(&UNACKNOWLEDGED));
        assert_eq!(plain.get_connect_timeout(), Some(&CONNECT_TIMEOUT));
        let own = config("postgres://db.example?keepalives_idle=60&tcp_user_timeout=9");
        assert_eq!(own.get_keepalives_idle(), Duration::from_secs(60));
        assert_eq!(own.get_tcp_user_timeout(), Some(&Duration::from_secs(9)));
    }

    #[test]
    fn each_host_has_its_time() {
        let patience = |url: &str| Connector::plain(url.parse().unwrap()).patience();
        assert_eq!(patience("postgres://a,b/keypool"), 2 * patience("postgres://a/keypool"));
    }

    #[test]
    fn passwords_are_not_shown() {
        let connector = Connector::plain("postgres://me:hunter2@localhost".parse().unwrap());
        assert!(!format!("{connector:?}").contains("hunter2"));
    }
}
