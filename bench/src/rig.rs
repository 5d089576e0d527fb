//! Everything that is measured, set up as one: PostgreSQL, its rows, the service, and what checks it.

use crate::{
    check::{Checker, check_books},
    child::{self, Child},
    cli::BenchOptions,
    database::Database,
    drive::{Failures, Measured, Meter, Window, measure},
    error::{Error, Outcome},
    subject::{Channels, Clients, Requests, Reserve, Reserver, Users},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A PostgreSQL, later a service on it, and what checks its answers.
#[derive(Debug)]
pub(crate) struct Rig {
    /// How it was asked for.
    pub(crate) options: BenchOptions,
    /// The PostgreSQL.
    pub(crate) database: Database,
    /// How the PostgreSQL is set where that is not its default.
    pub(crate) settings: String,
    /// What checks keypool's answers.
    pub(crate) checker: Arc<Checker>,
    /// Calls that failed and must not.
    pub(crate) failures: Arc<Failures>,
    seeds: AtomicU64,
}

/// What callers of keypool are to ask for.
#[derive(Debug, Clone)]
pub(crate) struct Demand {
    /// Of whom.
    pub(crate) users: Users,
    /// Devices in each call.
    pub(crate) targets: u32,
    /// How long each hold lasts.
    pub(crate) ttl: Duration,
    /// Calls in flight.
    pub(crate) in_flight: u32,
}

impl Rig {
    /// Starts PostgreSQL, and says how it is set.
    pub(crate) async fn start(options: &BenchOptions) -> Result<Self, Error> {
        let database = Database::open(options).await?;
        let settings = database.settings().await?;
        eprintln!("PostgreSQL: {settings}");
        eprintln!("seed: {}", options.run.seed);
        database.prepare_to_fill().await?;
        Ok(Self {
            options: options.clone(),
            database,
            settings,
            checker: Arc::default(),
            failures: Arc::default(),
            seeds: AtomicU64::new(options.run.seed.wrapping_mul(1_000_003)),
        })
    }

    /// Starts a service on the database.
    pub(crate) async fn service(&self) -> Result<Child, Error> {
        child::keypool::start(self.database.url(), &self.options.service_setting).await
    }

    /// Makes the requests of one caller, random in its own way.
    pub(crate) fn requests(&self, demand: &Demand) -> Requests {
        let seed = self.seeds.fetch_add(1, Ordering::Relaxed);
        Requests::new(demand.users.clone(), demand.targets, demand.ttl, seed)
    }

    /// Makes what reserves for one caller, by this client.
    pub(crate) fn reserver(&self, client: Clients, demand: &Demand) -> Reserver {
        Reserver {
            client,
            requests: self.requests(demand),
            checker: self.checker.clone(),
            package_bytes: self.options.package_bytes as usize,
        }
    }

    /// Reads what services and the database use.
    pub(crate) fn meter(&self, services: &[&Child]) -> Meter<'_> {
        Meter {
            services: services.iter().filter_map(|service| service.pid()).collect(),
            database: self.database.pid(),
            wal: Some(self.database.control()),
        }
    }

    /// Measures callers.
    pub(crate) async fn measure<C: crate::drive::Caller>(
        &self,
        callers: Vec<C>,
        window: Window,
        services: &[&Child],
    ) -> Result<Measured, Error> {
        measure(callers, window, &self.meter(services), &self.failures).await
    }

    /// Connects to services, over as many connections as were asked for.
    pub(crate) async fn channels(
        &self,
        services: &[&Child],
        in_flight: u32,
    ) -> Result<Channels, Error> {
        let endpoints: Vec<&str> = services.iter().map(|service| service.endpoint()).collect();
        Channels::connect(&endpoints, self.options.run.connections, in_flight).await
    }

    /// Measures reserves at one service, or at several replicas.
    pub(crate) async fn measure_reserves(
        &self,
        demand: &Demand,
        window: Window,
        services: &[&Child],
    ) -> Result<Measured, Error> {
        let channels = self.channels(services, demand.in_flight).await?;
        let callers = (0..demand.in_flight as usize).map(|caller| Reserve {
            reserver: self.reserver(channels.client(caller), demand),
            repeats: channels.client(caller + 1),
            last: None,
        });
        self.measure(callers.collect(), window, services).await
    }

    /// Checks the books, and says what was violated and what failed.
    pub(crate) async fn verdict(&self) -> Result<Outcome, Error> {
        check_books(&self.database, &self.checker).await?;
        let violations = self.checker.violations();
        for violation in violations.first() {
            eprintln!("violated: {violation}");
        }
        for failure in self.failures.first() {
            eprintln!("failed: {failure}");
        }
        let broken = violations.count() > 0 || self.failures.count() > 0;
        Ok(if broken { Outcome::Broken } else { Outcome::Kept })
    }
}
