//! The whole service: database, pools, gRPC, admin address, sweeper. Started and stopped as one.

use crate::{
    admin::{self, Readiness},
    clock::Clock,
    config::{Config, ConfigError},
    embedded::{self, EmbeddedError, EmbeddedPostgres},
    grpc::{AuditService, CallLayer, KeyPackageService},
    pool::KeyPackagePool,
    store::{MigrateError, SchemaState, Store, StoreError, migrate, schema_state},
    sweeper,
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    audit_service_server::AuditServiceServer, key_package_service_server::KeyPackageServiceServer,
};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

/// The least version of PostgreSQL.
const MIN_POSTGRES: i32 = 15;

/// How long a caller waits for a database connection before it is told that the service is overloaded.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// How often readiness is checked.
const READINESS_INTERVAL: Duration = Duration::from_secs(1);

/// How far the clocks of service and database may be apart.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(2);

/// The largest request: 100 packages of the largest size, and what is around them.
const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;

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

/// The database that a configuration names: an existing one, or a private one that was started for it.
#[derive(Debug)]
pub struct Database {
    config: tokio_postgres::Config,
    embedded: Option<EmbeddedPostgres>,
}

impl Database {
    /// Finds or starts the database.
    ///
    /// # Errors
    /// If the private PostgreSQL can't be started.
    pub async fn open(config: &Config) -> Result<Self, ServerError> {
        if let Some(url) = &config.database_url {
            return Ok(Self { config: url.parse()?, embedded: None });
        }
        let data_dir = config.data_dir.clone().unwrap_or_else(embedded::default_data_dir);
        let mut options = embedded::Options::new(data_dir);
        options.binaries.clone_from(&config.postgres_bin_dir);
        let embedded = EmbeddedPostgres::start(options).await?;
        Ok(Self { config: embedded.config(), embedded: Some(embedded) })
    }

    /// How to connect.
    #[must_use]
    pub fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// Brings the schema to the newest version, and returns what it was before. A newer one stays as it is.
    ///
    /// # Errors
    /// If the database can't be reached or refuses.
    pub async fn migrate(&self) -> Result<SchemaState, ServerError> {
        let (mut client, connection) =
            self.config.connect(NoTls).await.map_err(ServerError::Connect)?;
        let connection = tokio::spawn(connection);
        let version: i32 = client
            .query_one("SELECT current_setting('server_version_num')::int / 10000", &[])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(StoreError::from)?;
        if version < MIN_POSTGRES {
            return Err(ServerError::OldPostgres { found: version });
        }
        // Only what is behind: a role without the right to change the schema may still serve.
        let before = schema_state(&client).await?;
        if matches!(before, SchemaState::Behind { .. }) {
            migrate(&mut client).await?;
        }
        drop(client);
        connection.await.ok();
        Ok(before)
    }

    /// Stops the private PostgreSQL, if it is one.
    ///
    /// # Errors
    /// If it doesn't stop.
    pub async fn close(self) -> Result<(), ServerError> {
        if let Some(embedded) = self.embedded {
            embedded.stop().await?;
        }
        Ok(())
    }
}

/// A running service.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
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
        let grpc_listener = listen(config.listen, "listen").await?;
        let admin_listener = listen(config.admin_listen, "admin-listen").await?;
        let address = local_address(&grpc_listener, config.listen, "listen")?;
        let admin_address = local_address(&admin_listener, config.admin_listen, "admin-listen")?;
        let database = Database::open(config).await?;
        if config.migrate_on_start {
            database.migrate().await?;
        }
        let store =
            Store::new(database.config().clone(), config.database_connections, CONNECTION_WAIT)?;
        require_known_schema(&store, &*clock).await?;

        let policy = config.policy()?;
        let pool = KeyPackagePool::new(store.clone(), clock.clone(), policy.clone());
        let (health, health_service) = tonic_health::server::health_reporter();
        let drain = CancellationToken::new();
        let routes = tonic::transport::Server::builder()
            .accept_http1(true)
            .layer(tonic_web::GrpcWebLayer::new())
            .layer(CallLayer)
            .add_service(health_service)
            .add_service(reflection_v1())
            .add_service(reflection_v1alpha())
            .add_service(
                KeyPackageServiceServer::new(KeyPackageService::new(pool.clone(), policy))
                    .max_decoding_message_size(MAX_REQUEST_BYTES),
            )
            .add_service(AuditServiceServer::new(AuditService::new(pool.clone())));
        let incoming =
            tonic::transport::server::TcpIncoming::from(grpc_listener).with_nodelay(Some(true));
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
        let background = vec![
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
            tokio::spawn(sweeper::run(pool.clone(), config.sweep_interval.unsigned_abs())),
        ];
        tracing::info!(%address, %admin_address, "serving");
        Ok(Self {
            address,
            admin_address,
            data_dir: database.embedded.as_ref().map(|embedded| embedded.data_dir().to_owned()),
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
        if tokio::time::timeout(self.drain_timeout, &mut self.grpc).await.is_err() {
            tracing::warn!("some calls did not finish in time");
            self.grpc.abort();
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

pub(crate) async fn require_known_schema(
    store: &Store,
    clock: &dyn Clock,
) -> Result<(), ServerError> {
    match store.check(clock.now()).await?.schema {
        SchemaState::Current => Ok(()),
        SchemaState::Behind { found, known } => Err(ServerError::OldSchema { found, known }),
        SchemaState::Ahead { found, known } => Err(ServerError::NewSchema { found, known }),
    }
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

/// The names under which health is asked for: the whole server, and each service.
const HEALTH_NAMES: [&str; 3] = ["", "keypool.v1.KeyPackageService", "keypool.v1.AuditService"];

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}

/// Keeps health and readiness true: the database answers, knows this schema, and has about the same time.
async fn watch_readiness(
    store: Store,
    clock: Arc<dyn Clock>,
    readiness: watch::Sender<Readiness>,
    health: HealthReporter,
    drain: CancellationToken,
) {
    loop {
        let found = tokio::select! {
            found = not_ready(&store, &*clock) => found,
            () = drain.cancelled() => break,
        };
        if *readiness.borrow() != found {
            match found {
                None => tracing::info!("ready"),
                Some(reason) => tracing::warn!(reason, "not ready"),
            }
            readiness.send_replace(found);
            let status =
                if found.is_none() { ServingStatus::Serving } else { ServingStatus::NotServing };
            set_health(&health, status).await;
        }
        tokio::select! {
            () = tokio::time::sleep(READINESS_INTERVAL) => {}
            () = drain.cancelled() => break,
        }
    }
    readiness.send_replace(Some("stopping"));
}

async fn not_ready(store: &Store, clock: &dyn Clock) -> Readiness {
    let check = tokio::time::timeout(CONNECTION_WAIT, store.check(clock.now())).await;
    match check {
        Ok(Ok(check)) if check.clock_skew.abs() > MAX_CLOCK_SKEW => {
            Some("the clocks of service and database differ by more than 2 s")
        }
        Ok(Ok(check)) if matches!(check.schema, SchemaState::Behind { .. }) => {
            Some("the database's schema is older than this version needs")
        }
        // A newer schema is one that was expanded for the next version, which still serves this one.
        Ok(Ok(_)) => None,
        Ok(Err(_)) | Err(_) => Some("the database does not answer"),
    }
}
