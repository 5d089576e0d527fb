//! The whole service: database, pools, gRPC, admin address, sweeper. Started and stopped as one.

mod database;
mod database_tls;
mod readiness;

pub use database::Database;
pub(crate) use database::require_known_schema;

use crate::{
    admin,
    auth::Authenticator,
    clock::Clock,
    config::{Config, ConfigError, LimitsConfig},
    embedded::EmbeddedError,
    freeze,
    grpc::{AuditService, AuthenticateLayer, CallLayer, KeyPackageService, OverloadLayer},
    limits::InFlight,
    pem::TlsError,
    pool::KeyPackagePool,
    store::{MigrateError, Store, StoreError},
    survey, sweeper,
    telemetry::catalogue::BUILD_INFO,
    transport::{self, Reloader},
};
use database::MIN_POSTGRES;
use keypool_proto::v1::{
    audit_service_server::AuditServiceServer, key_package_service_server::KeyPackageServiceServer,
};
use readiness::{set_health, watch_readiness};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

/// How long a caller waits for a database connection before it is told that the service is overloaded. Longer than it takes to
/// find out that the database is away, which is another answer.
const CONNECTION_WAIT: Duration = Duration::from_secs(3);

/// How often HTTP/2 connections are pinged, and how long the answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the service did not start or stop as it should.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is wrong.
    #[error("the configuration is wrong")]
    Config(#[from] ConfigError),
    /// The private PostgreSQL failed.
    #[error("the private PostgreSQL failed")]
    Embedded(#[from] EmbeddedError),
    /// The database can't be reached.
    #[error("can't connect to the database: check --database-url, and that PostgreSQL runs")]
    Connect(#[source] tokio_postgres::Error),
    /// The database can't be reached by TLS.
    #[error(
        "can't connect to the database by TLS: check --database-url, that PostgreSQL runs with `ssl = on`, and that its \
         certificate is for the host in the URL and from a CA in database_tls.ca, or else in the system's roots; \
         sslmode=disable in the URL turns TLS off"
    )]
    ConnectByTls(#[source] tokio_postgres::Error),
    /// Certificates or keys can't be used.
    #[error("TLS can't be set up")]
    Tls(#[from] TlsError),
    /// The database failed.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// The database is too old.
    #[error("the database is PostgreSQL {found}: {MIN_POSTGRES} or newer is needed")]
    OldPostgres {
        /// Its major version.
        found: i32,
    },
    /// The schema could not be migrated.
    #[error("the schema could not be migrated")]
    Migrate(#[from] MigrateError),
    /// The runtime role could not be given its rights.
    #[error("the role {role:?} could not be given its rights: does it exist?")]
    Grant {
        /// The role.
        role: String,
        /// What the database says.
        #[source]
        source: StoreError,
    },
    /// The schema is older, and migrating at start is turned off.
    #[error(
        "the database's schema has version {found}, this keypool needs {known}: run `keypool migrate`"
    )]
    OldSchema {
        /// The schema's version.
        found: i32,
        /// The version that is needed.
        known: i32,
    },
    /// The schema is newer than this version knows.
    #[error(
        "the database's schema has version {found}, this keypool knows {known}: use a newer keypool"
    )]
    NewSchema {
        /// The schema's version.
        found: i32,
        /// The version that is known.
        known: i32,
    },
    /// An address can't be served.
    #[error(
        "can't listen on {address}: is something else running there? Choose another with --{flag}"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A running service.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    admin_address: SocketAddr,
    data_dir: Option<PathBuf>,
    pool: KeyPackagePool,
    store: Store,
    database: Database,
    health: HealthReporter,
    drain_timeout: Duration,
    /// Ends the gRPC server.
    drain: CancellationToken,
    grpc: JoinHandle<()>,
    background: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts the service: when this returns, it serves.
    ///
    /// # Errors
    /// If the configuration, the database or an address is at fault.
    pub async fn start(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, ServerError> {
        config.check()?;
        admin::recorder();
        BUILD_INFO.with([env!("CARGO_PKG_VERSION")]).set(1.0);
        let grpc_listener = listen(config.listen, "listen").await?;
        let admin_listener = listen(config.admin_listen, "admin-listen").await?;
        let address = local_address(&grpc_listener, config.listen, "listen")?;
        let admin_address = local_address(&admin_listener, config.admin_listen, "admin-listen")?;
        let reloader = match &config.tls {
            Some(tls) => Some(Reloader::start(tls.clone()).await?),
            None => None,
        };
        let database = Database::open(config).await?;
        if config.migrate_on_start {
            database.migrate().await?;
        }
        let store =
            Store::new(database.connector().clone(), config.database_connections, CONNECTION_WAIT)?;
        require_known_schema(&store, &*clock).await?;

        let authenticator = Authenticator::new(&config.auth, clock.clone())?;
        let policy = config.policy()?;
        let pool = KeyPackagePool::new(store.clone(), clock.clone(), policy.clone());
        let (health, health_service) = tonic_health::server::health_reporter();
        let drain = CancellationToken::new();
        let limits = &config.limits;
        let routes = http_server(limits)
            .layer(tonic_web::GrpcWebLayer::new())
            .layer(OverloadLayer::new(pool.clone()))
            .layer(CallLayer::new(limits.call_timeout.unsigned_abs()))
            .layer(AuthenticateLayer::new(authenticator, limits.calls_per_principal))
            .add_service(health_service)
            .add_service(reflection_v1())
            .add_service(reflection_v1alpha())
            .add_service(
                KeyPackageServiceServer::new(KeyPackageService::new(
                    pool.clone(),
                    policy,
                    InFlight::new(limits.watches_per_principal),
                ))
                .max_decoding_message_size(limits.message_bytes),
            )
            .add_service(
                AuditServiceServer::new(AuditService::new(pool.clone()))
                    .max_decoding_message_size(limits.message_bytes),
            );
        let tls = reloader.as_ref().map(Reloader::current);
        let incoming = transport::accept(grpc_listener, tls, limits);
        let stop = drain.clone();
        let grpc = tokio::spawn(async move {
            let served =
                routes.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, "gRPC server ended");
            }
        });

        let (readiness, ready) = watch::channel(Some("starting"));
        set_health(&health, ServingStatus::Serving).await;
        readiness.send_replace(None);
        let mut background = vec![
            tokio::spawn(watch_readiness(
                store.clone(),
                clock,
                readiness,
                health.clone(),
                drain.clone(),
            )),
            tokio::spawn(async move {
                if let Err(error) = axum::serve(admin_listener, admin::router(ready)).await {
                    tracing::error!(%error, "admin server ended");
                }
            }),
            tokio::spawn(admin::upkeep()),
            tokio::spawn(freeze::beat()),
            tokio::spawn(pool.clone().guard_fence()),
            tokio::spawn(survey::run(pool.clone())),
            tokio::spawn(sweeper::run(pool.clone(), config.sweep_interval.unsigned_abs())),
        ];
        background.extend(reloader.map(|reloader| tokio::spawn(reloader.run())));
        tracing::info!(%address, %admin_address, tls = config.tls.is_some(), "serving");
        Ok(Self {
            address,
            scheme: if config.tls.is_some() { "https" } else { "http" },
            admin_address,
            data_dir: database.data_dir().map(Path::to_owned),
            pool,
            store,
            database,
            health,
            drain_timeout: config.drain_timeout.unsigned_abs(),
            drain,
            grpc,
            background,
        })
    }

    /// Where gRPC is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How gRPC is served: `https`, or `http` in plain text.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Where `/metrics`, `/livez` and `/readyz` are served.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where the private PostgreSQL keeps its data; none for an existing one.
    #[must_use]
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// The pools that are served.
    #[must_use]
    pub fn pool(&self) -> &KeyPackagePool {
        &self.pool
    }

    /// Drains and stops: health says NOT_SERVING, new calls are refused, those under way finish within the drain timeout,
    /// then the private PostgreSQL is stopped.
    ///
    /// # Errors
    /// If the private PostgreSQL doesn't stop.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        tracing::info!("draining");
        set_health(&self.health, ServingStatus::NotServing).await;
        self.drain.cancel();
        self.pool.close_watches();
        let calls = async {
            let _ended = (&mut self.grpc).await;
            self.pool.close().await;
        };
        if tokio::time::timeout(self.drain_timeout, calls).await.is_err() {
            tracing::warn!("some calls did not finish in time");
            self.grpc.abort();
            // What waits in the lanes has no caller any more; what is being executed is left to the database.
            tokio::time::timeout(Duration::ZERO, self.pool.close()).await.ok();
        }
        for task in &self.background {
            task.abort();
        }
        self.store.close();
        self.database.close().await?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// What speaks HTTP with callers, within the limits.
fn http_server(limits: &LimitsConfig) -> tonic::transport::Server {
    // Often enough that a peer which answers is never idle.
    let ping_interval = PING_INTERVAL.min(limits.idle_timeout.unsigned_abs() / 2);
    // How many calls of a connection may be cancelled before they were begun. Those of a client whose calls are all late are,
    // several times over; beyond is an attack ("rapid reset"), which ends the connection.
    let resets = usize::try_from(limits.streams_per_connection).unwrap_or(usize::MAX);
    let resets = resets.saturating_mul(4).max(64);
    let server = tonic::transport::Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(Some(ping_interval))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .max_concurrent_streams(limits.streams_per_connection)
        .http2_max_header_list_size(limits.header_bytes)
        .http2_max_pending_accept_reset_streams(Some(resets));
    // Without tonic's grace, with which it would not ask the peer but only end the connection.
    match limits.connection_age {
        Some(age) => server.max_connection_age(age.unsigned_abs()),
        None => server,
    }
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, flag, source })
}

fn local_address(
    listener: &TcpListener,
    address: SocketAddr,
    flag: &'static str,
) -> Result<SocketAddr, ServerError> {
    listener.local_addr().map_err(|source| ServerError::Listen { address, flag, source })
}

macro_rules! reflection {
    ($name:ident, $build:ident) => {
        fn $name() -> impl tonic::codegen::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
            Future: Send,
        > + tonic::server::NamedService
        + Clone
        + Send
        + Sync
        + 'static {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(keypool_proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .$build()
                .expect("the descriptor sets were made by this build")
        }
    };
}
reflection!(reflection_v1, build_v1);
reflection!(reflection_v1alpha, build_v1alpha);
