//! A whole service for a test: real PostgreSQL, real gRPC, a clock that can be moved.

use super::database::TestDatabase;
use crate::{
    clock::{Clock, ShiftedClock},
    config::{Config, DatabaseUrl},
    server::Server,
    store::{Connector, Store},
};
use jiff::SignedDuration;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

/// How long the database may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service on a database of its own. Several may share one database.
#[derive(Debug)]
pub struct TestServer {
    server: Server,
    clock: ShiftedClock,
    database: Arc<TestDatabase>,
}

impl TestServer {
    /// Starts a service with the default configuration on a fresh database.
    ///
    /// # Panics
    /// If it can't: a test has no use for the error.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a service on a fresh database, with changes to the configuration.
    ///
    /// # Panics
    /// If it can't.
    pub async fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        let database = Arc::new(TestDatabase::create().await);
        Self::start_on(database, ShiftedClock::default(), configure).await
    }

    /// Starts a service on a database that is there already, with changes to the configuration.
    ///
    /// # Panics
    /// If it can't.
    pub async fn start_with_database(
        database: TestDatabase,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        Self::start_with_shared_database(Arc::new(database), configure).await
    }

    /// Starts a service on a database that outlives it, with changes to the configuration.
    ///
    /// # Panics
    /// If it can't.
    pub async fn start_with_shared_database(
        database: Arc<TestDatabase>,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        Self::start_on(database, ShiftedClock::default(), configure).await
    }

    /// Starts one more service on the same database, with the same clock.
    ///
    /// # Panics
    /// If it can't.
    pub async fn replica(&self) -> Self {
        Self::start_on(self.database.clone(), self.clock.clone(), |_| {}).await
    }

    /// Starts one more service on the same database, on a machine whose clock is so far ahead.
    ///
    /// # Panics
    /// If it can't.
    pub async fn replica_ahead(&self, ahead: SignedDuration) -> Self {
        Self::start_on(self.database.clone(), self.clock.fellow(ahead), |_| {}).await
    }

    async fn start_on(
        database: Arc<TestDatabase>,
        clock: ShiftedClock,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            admin_listen: (Ipv4Addr::LOCALHOST, 0).into(),
            database_url: Some(DatabaseUrl::new(database.url())),
            // A test sweeps when it wants to.
            sweep_interval: SignedDuration::from_hours(24),
            ..Config::default()
        };
        configure(&mut config);
        let server =
            Server::start(&config, Arc::new(clock.clone())).await.expect("the service starts");
        Self { server, clock, database }
    }

    /// Where it serves, as in `http://127.0.0.1:1234`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.server.scheme(), self.server.address())
    }

    /// The service's clock. Moving it moves the time of all replicas.
    #[must_use]
    pub fn clock(&self) -> &ShiftedClock {
        &self.clock
    }

    /// The service itself.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Quarantines all one-time packages that there are, as an operator does.
    ///
    /// # Panics
    /// If the database fails.
    pub async fn raise_fence(&self) {
        let store = Store::new(
            Connector::plain(self.database.config()),
            Arc::new(self.clock.clone()),
            1,
            PATIENCE,
        );
        let store = store.expect("a pool can be built");
        store.raise_fence_by_hand(self.clock.now()).await.expect("the database serves");
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> &Arc<TestDatabase> {
        &self.database
    }

    /// Drains and stops it; its database stays until the last replica is gone.
    ///
    /// # Panics
    /// If it doesn't stop as it should.
    pub async fn stop(self) {
        self.server.stop().await.expect("the service stops");
    }
}
