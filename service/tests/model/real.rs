//! The real pool: two replicas on one database, and a clock that stands still unless told otherwise.

use crate::stock::STOCK;
use jiff::{SignedDuration, Timestamp};
use keypool_service::{
    clock::Clock,
    limits::{MaxHolds, Rates},
    pool::{KeyPackagePool, Policy},
    store::{Connector, Store, migrate},
    supervise::Supervisor,
    testing::database::TestDatabase,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_postgres::{Client, NoTls};

/// Small numbers, so that caps and limits are reached.
pub(crate) fn policy() -> Policy {
    Policy {
        target: 4,
        low_watermark: 2,
        cap: 5,
        max_holds: MaxHolds { of_others: 2, of_own_devices: 3 },
        max_total_hold: SignedDuration::from_mins(15),
        rates: Rates::UNLIMITED,
        spend_log_retention: SignedDuration::from_hours(11 * 24),
        ..Policy::default()
    }
}

/// What the first service notes in a new database.
const FIRST_FENCE: &str = "INSERT INTO fence (number, raised_at, cause, lifted_at) VALUES (0, '-infinity', 'first', '-infinity')";

#[derive(Debug, Clone)]
pub(crate) struct StillClock(Arc<Mutex<Timestamp>>);

impl StillClock {
    pub(crate) fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap() = now;
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(crate) struct Real {
    pub(crate) clock: StillClock,
    replicas: [(KeyPackagePool, Store); 2],
    /// The replica that serves the next call.
    next: usize,
    database: TestDatabase,
    client: Client,
    truncate: String,
}

impl Real {
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::create().await;
        migrate(&Connector::plain(database.config()), None).await.unwrap();
        let (client, connection) = database.config().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        let tables = "SELECT string_agg(tablename, ', ') FROM pg_tables
                      WHERE schemaname = 'public' AND tablename <> 'refinery_schema_history'";
        let tables: String = client.query_one(tables, &[]).await.unwrap().get(0);
        let clock = StillClock(Arc::new(Mutex::new(STOCK.start)));
        Self {
            replicas: [0, 1].map(|_| replica(&database, &clock)),
            clock,
            next: 0,
            database,
            client,
            truncate: format!("TRUNCATE {tables}; {FIRST_FENCE}"),
        }
    }

    /// As if nothing had ever happened.
    pub(crate) async fn reset(&mut self) {
        self.client.batch_execute(&self.truncate).await.unwrap();
        self.clock.set(STOCK.start);
        self.next = 0;
    }

    pub(crate) async fn raise_fence(&mut self) {
        self.store().raise_fence_by_hand(self.clock.now()).await.unwrap();
    }

    pub(crate) async fn lift_fences(&mut self) {
        self.store().lift_fences(self.clock.now()).await.unwrap();
    }

    fn store(&self) -> &Store {
        &self.replicas[self.next].1
    }

    pub(crate) fn restart(&mut self, number: usize) {
        let number = number % self.replicas.len();
        let (_, store) = &self.replicas[number];
        store.close();
        self.replicas[number] = replica(&self.database, &self.clock);
    }

    /// One replica, and the next time the other.
    pub(crate) fn pool(&mut self) -> KeyPackagePool {
        self.next = 1 - self.next;
        self.replicas[self.next].0.clone()
    }
}

fn replica(database: &TestDatabase, clock: &StillClock) -> (KeyPackagePool, Store) {
    let store = Store::new(
        Connector::plain(database.config()),
        Arc::new(clock.clone()),
        2,
        Duration::from_secs(30),
    )
    .unwrap();
    (KeyPackagePool::new(store.clone(), policy(), &Supervisor::default()), store)
}
