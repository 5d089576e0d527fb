//! What `compare` measures: rows, a service, an echo, and how each slot calls them.

use super::slot::{BATCH, BATCHES_IN_FLIGHT, Slot};
use crate::{
    child::{self, Child},
    cli::BenchOptions,
    database::fill::{PACKAGES_PER_USER, Packages},
    drive::{Caller, Measured, Window},
    error::Error,
    rig::{Demand, Rig},
    subject::{
        Connections, DeleteOnRead, Echo, HOT_TTL, Requests, ReserveThenSpend, SPEND_TTL,
        SingleStatement, TTL, Upload, UploadQueue, Users, Validation, cores, make_uploads,
    },
};
use keypool_proto::v1::UploadKeyPackagesRequest;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// How the names of most users begin.
const USERS: &str = "user-";
/// How the name of the one hot user begins.
const HOT_USER: &str = "hot-";
/// The packages of the one hot user.
const HOT_PACKAGES: u32 = 10_000;
/// New devices whose packages are made and uploaded in each round.
const UPLOADERS: u32 = 300;

/// Everything that `compare` measures.
#[derive(Debug)]
pub(super) struct Setup {
    /// PostgreSQL, and what checks keypool.
    pub(super) rig: Rig,
    /// keypool.
    pub(super) service: Child,
    echo: Child,
    users: u32,
    /// Whose turn it is to have a package spent.
    spend_turn: Arc<AtomicU32>,
    /// Packages of each user so far, spent ones included.
    copies: AtomicU32,
    /// Whose row is deleted on read next.
    read_turn: Arc<AtomicU32>,
    /// Rows of each user so far that are deleted on read, deleted ones included.
    rows: AtomicU32,
}

impl Setup {
    /// Starts PostgreSQL, fills it, and starts what is measured.
    pub(super) async fn start(
        options: &BenchOptions,
        packages: u32,
        full: bool,
    ) -> Result<Self, Error> {
        let rig = Rig::start(options).await?;
        let users = packages / PACKAGES_PER_USER;
        let bytes = options.package_bytes;
        let all =
            Packages { prefix: USERS, users: 1..=users, copies: 1..=PACKAGES_PER_USER, bytes };
        tokio::try_join!(rig.database.fill_pools(&all), rig.database.fill_delete_on_read(&all))?;
        if full {
            let hot = Packages { prefix: HOT_USER, users: 1..=1, copies: 1..=HOT_PACKAGES, ..all };
            rig.database.fill_pools(&hot).await?;
        }
        rig.database.settle().await?;
        let service = rig.service().await?;
        let demand = demand(users, 1);
        let channels = rig.channels(&[&service], 1).await?;
        let (request, _) = rig.requests(&demand).reserve();
        let answer = channels.client(0).reserve_key_packages(request).await;
        let answer = answer.map_err(|status| Error::FirstCall(Box::new(status)))?.into_inner();
        let echo = child::echo::start(&answer).await?;
        Ok(Self {
            rig,
            service,
            echo,
            users,
            spend_turn: Arc::default(),
            copies: AtomicU32::new(PACKAGES_PER_USER),
            read_turn: Arc::default(),
            rows: AtomicU32::new(PACKAGES_PER_USER),
        })
    }

    /// Measures a slot.
    pub(super) async fn measure(
        &self,
        slot: Slot,
        round: u32,
        window: Window,
    ) -> Result<Measured, Error> {
        self.refill(slot).await?;
        if slot.needs_unseen_packages() {
            tokio::time::sleep(TTL).await; // the last holds end
            self.rig.database.forget_hand_outs().await?;
        }
        let rig = &self.rig;
        let demand = demand(self.users, slot.in_flight());
        match slot {
            Slot::Echo { .. } => self.echo(&demand, window).await,
            Slot::SingleStatement { connections, .. } => {
                self.single_statement(&demand, connections, window).await
            }
            Slot::DeleteOnRead { connections, .. } => {
                self.delete_on_read(&demand, connections, window).await
            }
            Slot::Keypool { .. } => rig.measure_reserves(&demand, window, &[&self.service]).await,
            Slot::Batch => {
                let demand = Demand { targets: BATCH, ..demand };
                rig.measure_reserves(&demand, window, &[&self.service]).await
            }
            Slot::ReserveThenSpend { .. } => self.reserve_then_spend(demand, window).await,
            Slot::HotUser { .. } => {
                let users = Users { prefix: HOT_USER, count: 1, turn: None };
                let demand = Demand { users, ttl: HOT_TTL, ..demand };
                rig.measure_reserves(&demand, window, &[&self.service]).await
            }
            Slot::TwoReplicas { .. } => {
                let other = rig.service().await?;
                let measured =
                    rig.measure_reserves(&demand, window, &[&self.service, &other]).await?;
                other.stop().await?;
                Ok(measured)
            }
            Slot::Upload => self.upload(round, window).await,
            Slot::Validation => self.validation(round, window).await,
        }
    }

    /// Reserves for a moment, only to have done so.
    pub(super) async fn soak(
        &self,
        service: &Child,
        in_flight: u32,
        length: Duration,
    ) -> Result<Measured, Error> {
        let window = Window { warm_up: Duration::ZERO, length };
        self.rig.measure_reserves(&demand(self.users, in_flight), window, &[service]).await
    }

    /// How many packages are stored at first.
    pub(super) fn packages(&self) -> u32 {
        self.users * PACKAGES_PER_USER
    }

    /// Stops everything.
    pub(super) async fn stop(self) -> Result<(), Error> {
        self.service.stop().await?;
        self.echo.stop().await?;
        self.rig.database.close().await
    }

    /// gRPC alone.
    async fn echo(&self, demand: &Demand, window: Window) -> Result<Measured, Error> {
        let channels = self.rig.channels(&[&self.echo], demand.in_flight).await?;
        let callers = (0..demand.in_flight as usize).map(|caller| Echo {
            client: channels.client(caller),
            requests: self.rig.requests(demand),
        });
        self.rig.measure(callers.collect(), window, &[&self.echo]).await
    }

    /// Reserves straight to the database.
    async fn single_statement(
        &self,
        demand: &Demand,
        connections: u32,
        window: Window,
    ) -> Result<Measured, Error> {
        let connections = self.connections(connections, SingleStatement::SQL).await?;
        let caller = |requests| SingleStatement { connections: connections.clone(), requests };
        self.straight(demand, window, caller).await
    }

    /// Deletes straight to the database, of users in turn: so all of them have rows to the end.
    async fn delete_on_read(
        &self,
        demand: &Demand,
        connections: u32,
        window: Window,
    ) -> Result<Measured, Error> {
        let connections = self.connections(connections, DeleteOnRead::SQL).await?;
        let users = Users { turn: Some(self.read_turn.clone()), ..demand.users.clone() };
        let demand = Demand { users, ..demand.clone() };
        let caller = |requests| DeleteOnRead { connections: connections.clone(), requests };
        self.straight(&demand, window, caller).await
    }

    /// Connects to the database so many times, for one statement.
    async fn connections(&self, count: u32, sql: &str) -> Result<Arc<Connections>, Error> {
        Connections::open(self.rig.database.config(), count, sql).await
    }

    /// Measures callers that need no service.
    async fn straight<C: Caller>(
        &self,
        demand: &Demand,
        window: Window,
        caller: impl Fn(Requests) -> C,
    ) -> Result<Measured, Error> {
        let callers = (0..demand.in_flight).map(|_| caller(self.rig.requests(demand)));
        self.rig.measure(callers.collect(), window, &[]).await
    }

    /// Reserves that are spent, of users in turn.
    async fn reserve_then_spend(&self, demand: Demand, window: Window) -> Result<Measured, Error> {
        let users = Users { turn: Some(self.spend_turn.clone()), ..demand.users };
        let demand = Demand { users, ttl: SPEND_TTL, ..demand };
        let channels = self.rig.channels(&[&self.service], demand.in_flight).await?;
        let callers = (0..demand.in_flight as usize).map(|caller| ReserveThenSpend {
            reserver: self.rig.reserver(channels.client(caller), &demand),
        });
        self.rig.measure(callers.collect(), window, &[&self.service]).await
    }

    /// Uploads of real packages, until they are used up.
    async fn upload(&self, round: u32, window: Window) -> Result<Measured, Error> {
        let channels = self.rig.channels(&[&self.service], BATCHES_IN_FLIGHT).await?;
        let queue = UploadQueue::new(uploads(round).await?);
        let callers = (0..BATCHES_IN_FLIGHT as usize)
            .map(|caller| Upload { client: channels.client(caller), queue: queue.clone() });
        self.rig.measure(callers.collect(), until_done(window), &[&self.service]).await
    }

    /// Validation of real packages, until they are used up.
    async fn validation(&self, round: u32, window: Window) -> Result<Measured, Error> {
        let queue = UploadQueue::new(uploads(round).await?);
        let callers = (0..cores()).map(|_| Validation { queue: queue.clone() });
        self.rig.measure(callers.collect(), until_done(window), &[]).await
    }

    /// Adds packages where a slot is about to use up what is left of them.
    async fn refill(&self, slot: Slot) -> Result<(), Error> {
        let (turn, given) = match slot {
            Slot::ReserveThenSpend { .. } => (&self.spend_turn, &self.copies),
            Slot::DeleteOnRead { .. } => (&self.read_turn, &self.rows),
            _ => return Ok(()),
        };
        let used = turn.load(Ordering::Relaxed) / self.users;
        let before = given.load(Ordering::Relaxed);
        let left = before.saturating_sub(used);
        if left > PACKAGES_PER_USER / 2 {
            return Ok(());
        }
        let copies = before + 1..=before + PACKAGES_PER_USER - left;
        given.store(*copies.end(), Ordering::Relaxed);
        let bytes = self.rig.options.package_bytes;
        let packages = Packages { prefix: USERS, users: 1..=self.users, copies, bytes };
        match slot {
            Slot::ReserveThenSpend { .. } => self.rig.database.fill_pools(&packages).await?,
            _ => self.rig.database.fill_delete_on_read(&packages).await?,
        }
        self.rig.database.settle().await
    }
}

/// The real packages of a round's new devices.
async fn uploads(round: u32) -> Result<Vec<UploadKeyPackagesRequest>, Error> {
    let packages = PACKAGES_PER_USER as usize;
    make_uploads(&format!("uploader-{round}-"), 1..=UPLOADERS, packages).await
}

/// One device a call, of any user.
fn demand(users: u32, in_flight: u32) -> Demand {
    let users = Users { prefix: USERS, count: users, turn: None };
    Demand { users, targets: 1, ttl: TTL, in_flight }
}

/// All of a given number of calls, so that none of them is to be left over.
fn until_done(window: Window) -> Window {
    Window { warm_up: Duration::ZERO, length: window.length.max(Duration::from_secs(60)) }
}
