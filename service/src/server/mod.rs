//! The whole service: database, pools, gRPC, admin address, sweeper. Started and stopped as one.

mod checks;
mod credentials;
mod database;
mod error;
mod readiness;

pub use database::Database;
pub(crate) use database::require_known_schema;
pub use error::ServerError;
pub use readiness::Readiness;

use crate::{
    admin,
    auth::Authenticator,
    causes::causes,
    clock::Clock,
    config::{Config, LimitsConfig},
    freeze,
    grpc::{
        AuditService, AuthenticateLayer, CallLayer, CallRates, KeyPackageService, LongStreamLayer,
        MemoryLayer, OverloadLayer, Services,
    },
    limits::{Budget, CallLimits, InFlight},
    pool::KeyPackagePool,
    security,
    store::Store,
    supervise::Supervisor,
    survey, sweeper,
    telemetry::catalogue::{BUILD_INFO, READY},
    transport::{self, Reloader},
};
use checks::Checks;
use keypool_proto::v1::{
    audit_service_server::AuditServiceServer, key_package_service_server::KeyPackageServiceServer,
};
use readiness::{State, Teller, set_health};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

/// How long a caller waits for a database connection before it is told that the service is overloaded. Longer than it takes to
/// find out that the database is away, which is another answer.
const CONNECTION_WAIT: Duration = Duration::from_secs(3);

/// How often HTTP/2 connections are pinged, and how long the answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

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
    tasks: Supervisor,
    teller: Teller,
    /// Tells why the service can't run on the database that it found.
    unfit: oneshot::Receiver<ServerError>,
    /// Ends the gRPC server.
    drain: CancellationToken,
    grpc: JoinHandle<()>,
}

impl Server {
    /// Starts the service: when this returns, it is ready, or has found why it has to wait for its database.
    ///
    /// # Errors
    /// If the configuration, the database or an address is at fault.
    pub async fn start(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, ServerError> {
        let mut server = Box::pin(Self::listen(config, clock)).await?;
        match server.contacted().await {
            Ok(_obstacle) => Ok(server),
            Err(error) => {
                if let Err(stop) = server.stop().await {
                    tracing::warn!(error = causes(&stop), "it could not be stopped in order");
                }
                Err(error)
            }
        }
    }

    /// Starts the service: when this returns, it listens, and waits for its database.
    ///
    /// # Errors
    /// If the configuration, an address, or a file that they name is at fault, or the private PostgreSQL can't be started.
    pub async fn listen(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, ServerError> {
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
        let store = Store::new(
            database.connector().clone(),
            clock.clone(),
            config.database_connections,
            CONNECTION_WAIT,
        )?;
        store.shut();

        let tasks = Supervisor::default();
        let authenticator = Authenticator::new(&config.auth, clock.clone(), &tasks)?;
        let policy = config.policy()?;
        let pool = KeyPackagePool::new(store.clone(), policy.clone(), &tasks);
        let teller = Teller::new();
        let readiness = Readiness::new(teller.subscribe(), tasks.ended());
        let (health, health_service) = tonic_health::server::health_reporter();
        set_health(&health, false).await;
        let drain = CancellationToken::new();
        let limits = &config.limits;
        let rates = CallRates::new(CallLimits::new(&limits.rates), clock.clone());
        let server = http_server(limits)
            .layer(MemoryLayer::new(Budget::new(limits.memory_bytes), limits.message_bytes))
            .layer(tonic_web::GrpcWebLayer::new())
            .layer(OverloadLayer::new(pool.clone()))
            .layer(CallLayer::new(limits.call_timeout.unsigned_abs()))
            .layer(AuthenticateLayer::new(authenticator, limits.calls_per_principal, rates))
            .layer(LongStreamLayer::new(clock, drain.clone()));
        let key_packages = KeyPackageService::new(
            pool.clone(),
            policy,
            InFlight::new(limits.watches_per_principal),
        );
        let others = Routes::new(health_service)
            .add_service(reflection_v1())
            .add_service(reflection_v1alpha())
            .add_service(
                AuditServiceServer::new(AuditService::new(pool.clone()))
                    .max_decoding_message_size(limits.message_bytes),
            );
        let services = Services::new(
            KeyPackageServiceServer::new(key_packages)
                .max_decoding_message_size(limits.message_bytes),
            others,
        );
        let tls = reloader.as_ref().map(Reloader::current);
        let incoming = transport::accept(grpc_listener, tls, limits, &tasks);
        let stop = drain.clone();
        let grpc = tasks.spawn("gRPC server", async move {
            let served = server
                .serve_with_incoming_shutdown(services, incoming, stop.cancelled_owned())
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "gRPC server ended");
            }
        });
        let router = admin::router(readiness.clone());
        tasks.spawn("admin server", async move {
            if let Err(error) = axum::serve(admin_listener, router).await {
                tracing::error!(%error, "admin server ended");
            }
        });
        tasks.spawn("gRPC health", readiness::show(readiness, health.clone()));
        tasks.spawn("metrics upkeep", admin::upkeep());
        tasks.spawn("security log", security::report());
        tasks.spawn("freeze watch", freeze::beat());
        if let Some(reloader) = reloader {
            tasks.spawn("certificate reloader", reloader.run());
        }
        if let Some(ended) = database.ended() {
            tasks.spawn("private PostgreSQL", ended);
        }
        let (sender, unfit) = oneshot::channel();
        let checks = Checks {
            access: database.access().clone(),
            store: store.clone(),
            migrate: config.migrate_on_start,
            teller: teller.clone(),
            unfit: sender,
            drain: drain.clone(),
        };
        tasks.spawn("readiness check", checks.run());
        let sweep_interval = config.sweep_interval.unsigned_abs();
        let sweeper = sweeper::run(pool.clone(), sweep_interval);
        tasks.spawn("fence guard", once_open(&store, pool.clone().guard_fence()));
        tasks.spawn("survey", once_open(&store, survey::run(pool.clone())));
        tasks.spawn("sweeper", once_open(&store, sweeper));
        tracing::info!(%address, %admin_address, tls = config.tls.is_some(), "listening");
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
            tasks,
            teller,
            unfit,
            drain,
            grpc,
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

    /// The background tasks.
    #[must_use]
    pub fn tasks(&self) -> &Supervisor {
        &self.tasks
    }

    /// Waits until the first look at the database has ended. Returns why the service is not ready yet; none if it is.
    ///
    /// # Errors
    /// As [`Self::failed`].
    pub async fn contacted(&mut self) -> Result<Option<String>, ServerError> {
        match self.becomes(|state| *state != State::Starting).await? {
            State::NotReady(reason) => Ok(Some(reason)),
            _ => Ok(None),
        }
    }

    /// Waits until the service is ready.
    ///
    /// # Errors
    /// As [`Self::failed`].
    pub async fn ready(&mut self) -> Result<(), ServerError> {
        self.becomes(|state| *state == State::Ready).await.map(drop)
    }

    async fn becomes(&mut self, wanted: impl FnMut(&State) -> bool) -> Result<State, ServerError> {
        let mut state = self.teller.subscribe();
        tokio::select! {
            biased;
            error = self.failed() => Err(error),
            Ok(state) = state.wait_for(wanted) => Ok(state.clone()),
        }
    }

    /// Waits until the service can't go on: the database that it found is not one to serve on, or a background task ended. It
    /// is not ready then, and should be [stopped](Self::stop).
    pub async fn failed(&mut self) -> ServerError {
        let mut ended = self.tasks.ended();
        tokio::select! {
            Ok(error) = &mut self.unfit, if !self.unfit.is_terminated() => error,
            Ok(task) = ended.wait_for(Option::is_some) => {
                ServerError::TaskEnded { task: task.clone().unwrap_or_default() }
            }
        }
    }

    /// Drains and stops: health says NOT_SERVING, new calls are refused, those under way finish within the drain timeout,
    /// then the private PostgreSQL is stopped.
    ///
    /// # Errors
    /// If the private PostgreSQL doesn't stop.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        tracing::info!("draining");
        self.tasks.let_end();
        self.teller.tell(State::Stopping);
        set_health(&self.health, false).await;
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
        self.tasks.abort_all();
        READY.with([]).set(0.0);
        security::tell_left_out();
        self.store.close();
        self.database.close().await?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Does something once the store may be used.
fn once_open(
    store: &Store,
    task: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let store = store.clone();
    async move {
        store.opened().await;
        drop(store);
        task.await;
    }
}

/// How much a connection may send before it is read: less than the default of the library, since there are many.
const WINDOW: u32 = 256 * 1024;

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
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_max_header_list_size(limits.header_bytes)
        .http2_max_pending_accept_reset_streams(Some(resets));
    // Without tonic's grace, with which it would not ask the peer but only end the connection: see transport/long_streams.rs.
    match limits.oldest_connection() {
        Some(age) => server.max_connection_age(age),
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
