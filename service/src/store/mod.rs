//! PostgreSQL: one file for each family of statements, their SQL in `sql/`.
//!
//! Every statement takes arrays, so that many calls can share one round trip and one commit; is prepared once for each
//! connection; starts with a comment that names it; and takes the time as a parameter.

mod audit;
mod blockers;
mod circuit;
mod connector;
mod error;
mod examine;
mod fence;
mod grants;
mod hanging;
mod holds;
mod lent;
mod migrate;
mod observe;
mod overview;
pub(crate) mod requirements;
mod reserve;
mod revoke;
mod schema;
mod session;
mod settings;
mod sqlstate;
mod status;
mod survey;
mod sweep;
mod upload;

pub(crate) use circuit::Silence;
pub(crate) use settings::Purpose;

pub use audit::{LogFilter, LogPosition, LogRow};
pub use connector::{Connector, Credentials, TlsConnection, needs_tls};
pub use error::StoreError;
pub use examine::Examined;
pub use fence::{Beat, FenceRow, Fences, History, NewFence};
pub use holds::{Extended, HeldItem, HoldRef, LogRef, ReleaseItem, Report, SpendItem, Trace};
pub use migrate::{MigrateError, migrate};
pub use overview::Overview;
pub use requirements::Fault;
pub use reserve::{KnownDevices, LiveHolds, Missing, Own, ReserveFilter, ReservedRow, Want};
pub use revoke::{Reconciled, RevokeSelector, UnavailableState};
pub use schema::{SchemaState, schema_state};
pub use session::Session;
pub use status::{LastResortRow, PoolRow, StatusRow, UnusableRow, WatchRow};
pub use survey::{LowPool, SurveyRow};
pub use sweep::{Bucketful, Purged, SweepTerms};
pub use upload::{StoredOutcome, UploadItem, UploadTerms};

use crate::{
    causes::causes,
    clock::Clock,
    types::{Bucket, DeviceId, UserId},
};
use circuit::Circuit;
use deadpool_postgres::{Hook, HookError, Pool, Timeouts};
use hanging::WaitingCommits;
use lent::{Lent, Planned};
use observe::Observed;
use session::Look;
use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::timeout;
use tokio_postgres::{Row, types::ToSql};

/// How often a statement that lost a deadlock or a serialization conflict is run again.
const CONFLICT_RETRIES: usize = 5;

/// The tables of keypool in one PostgreSQL database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    connector: Connector,
    /// Told what the database's clock shows, with each connection and each check.
    clock: Arc<dyn Clock>,
    pool: Pool,
    circuit: Circuit,
    /// The connection of [`Self::check`]: the pool's may all be busy.
    checking: Arc<Mutex<Option<Checking>>>,
    /// What it has seen of commits that wait.
    waiting_commits: Arc<Mutex<WaitingCommits>>,
}

/// The connection of the check.
struct Checking {
    session: Session,
    /// The settings that new sessions began with, as they were seen before this one was made; none if they were not. Others may
    /// be in force for the next.
    defaults: Option<String>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("pool", &self.pool.status()).finish()
    }
}

/// A device, with the bucket of its user: what every statement filters by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey {
    /// The user's bucket.
    pub bucket: Bucket,
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
}

impl DeviceKey {
    /// The key of a user's device.
    #[must_use]
    pub fn new(user: UserId, device: DeviceId) -> Self {
        Self { bucket: Bucket::of(&user), user, device }
    }
}

impl Store {
    /// Prepares a pool of at most `connections` connections; none is opened yet. A caller that gets none within
    /// `wait` fails. The clock is told what the database's shows.
    ///
    /// # Errors
    /// If the pool can't be built.
    pub fn new(
        connector: Connector,
        clock: Arc<dyn Clock>,
        connections: usize,
        wait: Duration,
    ) -> Result<Self, StoreError> {
        let pool = Pool::builder(connector.manager())
            .max_size(connections)
            .timeouts(Timeouts {
                wait: Some(wait),
                create: Some(connector.patience()),
                recycle: Some(connector.patience()),
            })
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .post_create(pinned(connector.clone()))
            .build()
            .map_err(StoreError::internal)?;
        // Longer than an attempt to connect, and what passes between two checks.
        let circuit = Circuit::new(connector.patience() + Duration::from_millis(500));
        let (checking, waiting_commits) = Default::default();
        Ok(Self { connector, clock, pool, circuit, checking, waiting_commits })
    }

    /// Makes a connection of its own, beside the pool's.
    ///
    /// # Errors
    /// If the database can't be reached: at once, if another has found out a moment ago.
    pub async fn session(&self) -> Result<Session, StoreError> {
        self.circuit.ask()?;
        self.connect(Purpose::Lane).await
    }

    async fn connect(&self, purpose: Purpose) -> Result<Session, StoreError> {
        let began = Instant::now();
        let session =
            Session::connect(&self.connector, self.circuit.clone(), &*self.clock, purpose).await;
        self.circuit.note(began, &session);
        self.circuit.note_refusal(&session);
        session
    }

    /// Tells whoever has a [`Session`] when it is of no use any more.
    pub(crate) fn silence(&self) -> Silence {
        self.circuit.silence()
    }

    /// Lets nothing be asked but by [`Self::check`], until it is [opened](Self::open): whatever else is asked fails as unavailable.
    pub fn shut(&self) {
        self.circuit.shut();
    }

    /// Lets everything be asked, as at first.
    pub fn open(&self) {
        self.circuit.open();
    }

    /// Waits until everything may be asked.
    pub async fn opened(&self) {
        self.circuit.opened().await;
    }

    /// The time, as the database has it once it was asked.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Closes every connection of the pool; callers that wait for one fail.
    pub fn close(&self) {
        self.pool.close();
    }

    /// How far the database's clock is from the machine's, whether the database is as it must be for new sessions, and whether
    /// the schema is the one that this version knows. Tells the clock.
    ///
    /// Asked again and again, it also finds out when the database is away and when it is back. One that does not answer in
    /// time has fallen silent: whatever waits for it is given up, and fails.
    ///
    /// # Errors
    /// If the database can't be asked.
    pub async fn check(&self) -> Result<Check, StoreError> {
        let (asked, patience) = (Instant::now(), self.connector.patience());
        let looked = timeout(patience, self.look())
            .await
            .unwrap_or_else(|elapsed| Err(StoreError::unavailable(elapsed)));
        if let Err(error) = &looked
            && asked.elapsed() >= patience
            && self.circuit.fell_silent(asked, error.clone())
        {
            self.pool.retain(|_, _| false);
        }
        let (mut checking, look) = looked?;
        self.clock.note(&look.clock);
        let machine = self.clock.machine() - look.clock.moment().elapsed();
        let clock_skew = look.clock.time.duration_since(machine);
        // Not put back unless all went well.
        let session = &mut checking.session;
        let rest = async {
            let (schema, lost_setting) = (session.schema().await?, session.lost_setting().await?);
            let is_served = schema.unserved().is_none();
            let lost_setting = lost_setting.map(|setting| Fault::LostSetting { setting });
            let mut faults = Vec::from_iter(lost_setting);
            if is_served && !session.missing_rights().await?.is_empty() {
                faults.push(Fault::LacksRights);
            }
            if is_served && !session.is_guarded().await? {
                faults.push(Fault::Unguarded);
            }
            Ok::<_, StoreError>((schema, faults))
        };
        let (schema, more) = timeout(patience, rest).await.map_err(StoreError::unavailable)??;
        *self.checking() = Some(checking);
        let mut faults = look.faults;
        faults.extend(more);
        let mut waiting = self.waiting_commits.lock().unwrap_or_else(PoisonError::into_inner);
        let hang = waiting.note(look.waiting_commits, asked) | self.circuit.has_hanging_write();
        drop(waiting);
        faults.extend(hang.then_some(Fault::CommitsHang));
        faults.extend(self.circuit.refuses_writes().then_some(Fault::RefusesWrites));
        Ok(Check { clock_skew, faults, schema })
    }

    async fn look(&self) -> Result<(Checking, Look), StoreError> {
        // Another found that no connection is made any more. The check keeps its own until it has made one.
        let fresh = match self.circuit.was_refused() {
            true => Some(self.connect(Purpose::Lane).await?),
            false => None,
        };
        let open = self.checking().take();
        let (session, defaults) = match (fresh, open) {
            (Some(fresh), _) => (fresh, None),
            (None, Some(open)) if !open.session.is_broken() => (open.session, open.defaults),
            _ => (self.connect(Purpose::Lane).await?, None),
        };
        let mut checking = Checking { session, defaults };
        let mut look = match checking.session.look().await {
            // It broke or is out of date since it was last used, which says nothing of now.
            Err(StoreError::Lost(_) | StoreError::Stale(_)) => {
                checking = Checking { session: self.connect(Purpose::Lane).await?, defaults: None };
                checking.session.look().await?
            }
            looked => looked?,
        };
        if checking.defaults.as_ref() != Some(&look.defaults) {
            self.renew(&mut checking, &mut look).await?;
        }
        Ok((checking, look))
    }

    /// Looks at the database by a new session, because others than this one began with other settings, as `ALTER DATABASE` and
    /// `ALTER ROLE` leave them.
    async fn renew(&self, checking: &mut Checking, look: &mut Look) -> Result<(), StoreError> {
        let (circuit, clock) = (self.circuit.clone(), &*self.clock);
        match Session::connect(&self.connector, circuit, clock, Purpose::Lane).await {
            Ok(mut session) => {
                let defaults = std::mem::replace(look, session.look().await?).defaults;
                // Idle connections are dropped. One that is busy is dropped when it finds itself read-only.
                if self.circuit.note_defaults(&defaults) {
                    self.pool.retain(|_, _| false);
                }
                *checking = Checking { session, defaults: Some(defaults) };
            }
            // What there are of connections may still serve: this is tried again.
            Err(error) => look.faults.extend(Fault::of(&error)),
        }
        Ok(())
    }

    /// What the connections of the pool do now.
    #[must_use]
    pub fn connections(&self) -> Connections {
        let pool = self.pool.status();
        let idle = pool.available.min(pool.size);
        Connections { idle, busy: pool.size - idle, waiting: pool.waiting }
    }

    fn checking(&self) -> MutexGuard<'_, Option<Checking>> {
        // Every change is one assignment: a panic leaves nothing half done.
        self.checking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a prepared statement, again if it lost a conflict with another, or was prepared for a database that is no longer
    /// as it was.
    async fn rows(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        self.rows_of(sql, params, Planned::Once).await
    }

    /// Runs a statement as [`Self::rows`] does.
    async fn rows_of(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
        planned: Planned,
    ) -> Result<Vec<Row>, StoreError> {
        retry_conflicts(|| async {
            let mut silence = self.silence();
            let lent = silence.clone();
            let rows =
                silence.or(async { self.lend(lent).await?.rows(sql, params, planned).await });
            let rows = match Observed::begin(sql).end(rows).await {
                // Seldom, so that its future need not be part of every call's.
                Err(StoreError::Stale(_)) => Box::pin(self.rows_anew(sql, params)).await?,
                rows => rows?,
            };
            self.circuit.note(Instant::now(), &Ok(()));
            Ok(rows)
        })
        .await
    }

    /// Runs a statement on a new connection, not one of the pool's: those may all be out of date.
    async fn rows_anew(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let mut silence = self.silence();
        let rows = silence.or(async {
            self.circuit.ask()?;
            self.connect(Purpose::Pool).await?.rows(sql, params).await
        });
        Box::pin(rows).await.map_err(StoreError::settled)
    }

    /// Takes a connection from the pool.
    async fn lend(&self, silence: Silence) -> Result<Lent, StoreError> {
        let pool = self.pool.status();
        if pool.available == 0 && pool.size < pool.max_size {
            self.circuit.ask()?;
        }
        let began = Instant::now();
        let client = match self.pool.get().await.map_err(StoreError::from) {
            // Others wait for it, too: it has gone, although nothing has noticed yet.
            Err(StoreError::Busy) if !self.circuit.was_heard_since(began) => {
                Err(StoreError::silent())
            }
            client => client,
        };
        if matches!(client, Err(StoreError::Unavailable(_))) {
            self.circuit.note(began, &client);
            self.circuit.note_refusal(&client);
        }
        Ok(Lent::new(client?, silence))
    }
}

/// Pins the settings of each connection of the pool.
fn pinned(connector: Connector) -> Hook {
    Hook::async_fn(move |client, _| {
        let connector = connector.clone();
        Box::pin(async move {
            let pinned = connector.pin(client, Purpose::Pool).await;
            pinned.map_err(|error| HookError::message(causes(&error)))
        })
    })
}

/// What the connections of the pool do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Those that wait for a statement.
    pub idle: usize,
    /// Those that have one.
    pub busy: usize,
    /// Calls that wait for a connection.
    pub waiting: usize,
}

/// What [`Store::check`] found.
#[derive(Debug, Clone)]
pub struct Check {
    /// The database's time less the machine's.
    pub clock_skew: jiff::SignedDuration,
    /// Why keypool can't keep its promises on it, what does not pass first.
    pub faults: Vec<Fault>,
    /// The schema, compared with the one that this version knows.
    pub schema: SchemaState,
}

async fn retry_conflicts<T, F>(mut run: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 0..CONFLICT_RETRIES {
        match run().await {
            Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
            result => return result,
        }
    }
    run().await
}

/// Reads a column; one of another type, or without a value, is an error and not a panic.
fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: impl tokio_postgres::row::RowIndex + fmt::Display,
) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| StoreError::from(error).settled())
}

/// An item's number as the statements return it.
fn index(row: &Row, column: &str) -> Result<usize, StoreError> {
    usize::try_from(get::<i32>(row, column)?).map_err(StoreError::internal)
}

/// The numbers 0, 1, 2, … that tie a statement's rows to its items.
fn numbers(count: usize) -> Vec<i32> {
    (0..).take(count).collect()
}

/// A count, which is never negative.
fn count(row: &Row, column: &str) -> Result<u64, StoreError> {
    u64::try_from(get::<i64>(row, column)?).map_err(StoreError::internal)
}

/// An id read back from the database, where only valid ones are.
fn id<T, E>(parsed: Result<T, E>) -> Result<T, StoreError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    parsed.map_err(StoreError::internal)
}
