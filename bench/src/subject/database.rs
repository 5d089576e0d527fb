//! Baselines without a service: statements straight to the database.

use super::{Requests, requests::CIPHER_SUITE};
use crate::{
    database::{connect, fill::DEVICE},
    drive::{CallError, Caller},
    error::Error,
};
use keypool_service::{
    clock::{Clock, SystemClock},
    types::{Bucket, UserId},
};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio_postgres::{Client, Config, Row, Statement, types::ToSql};

/// Who holds what the single statement reserves.
const HOLDER: &str = "bench";

/// How long a package must stay valid to be handed out: what keypool asks for by default.
const MIN_REMAINING: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// Connections with one prepared statement, each used by one call at a time, as in a service's pool.
#[derive(Debug)]
pub(crate) struct Connections {
    free: Mutex<Vec<(Client, Statement)>>,
    permits: Semaphore,
}

impl Connections {
    /// Connects so many times, and prepares a statement on each connection.
    pub(crate) async fn open(config: &Config, count: u32, sql: &str) -> Result<Arc<Self>, Error> {
        let mut free = Vec::new();
        for _ in 0..count {
            let client = connect(config).await?;
            let statement = client.prepare(sql).await?;
            free.push((client, statement));
        }
        Ok(Arc::new(Self { free: Mutex::new(free), permits: Semaphore::new(count as usize) }))
    }

    /// Runs the statement on a free connection, once there is one.
    async fn query(&self, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, CallError> {
        let gone = || CallError::Failed("the connections are gone".to_owned());
        let _permit = self.permits.acquire().await.map_err(|_| gone())?;
        let connection = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = connection.ok_or_else(gone)?;
        let rows = connection.0.query(&connection.1, params).await;
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(rows?)
    }
}

/// Reserves by one prepared statement, on keypool's own table.
#[derive(Debug)]
pub(crate) struct SingleStatement {
    /// Where the statement runs.
    pub(crate) connections: Arc<Connections>,
    /// What to ask for.
    pub(crate) requests: Requests,
}

impl SingleStatement {
    /// The statement.
    pub(crate) const SQL: &str = include_str!("../sql/single_statement.sql");
}

impl Caller for SingleStatement {
    async fn call(&mut self) -> Result<Option<u64>, CallError> {
        let user = self.requests.user();
        let id = UserId::new(&user).map_err(|error| CallError::Failed(error.to_string()))?;
        let bucket = Bucket::of(&id).number();
        let now = SystemClock.now();
        let (reservation_id, _) = self.requests.reservation_id();
        let group_id = self.requests.group_id();
        let rows = self
            .connections
            .query(&[
                /* bucket */ &bucket,
                /* user_id */ &user,
                /* device_id */ &DEVICE,
                /* cipher_suite */ &i32::try_from(CIPHER_SUITE).unwrap_or_default(),
                /* min_not_after */ &(now + MIN_REMAINING),
                /* now */ &now,
                /* held_until */ &(now + self.requests.ttl()),
                /* reservation_id */ &reservation_id,
                /* group_id */ &group_id.as_slice(),
                /* holder */ &HOLDER,
            ])
            .await?;
        one_package(&rows, "key_package")?;
        Ok(Some(1))
    }
}

/// Takes packages as servers do that delete on read.
#[derive(Debug)]
pub(crate) struct DeleteOnRead {
    /// Where the statement runs.
    pub(crate) connections: Arc<Connections>,
    /// What to ask for.
    pub(crate) requests: Requests,
}

impl DeleteOnRead {
    /// The statement.
    pub(crate) const SQL: &str = include_str!("../sql/delete_on_read.sql");
}

impl Caller for DeleteOnRead {
    async fn call(&mut self) -> Result<Option<u64>, CallError> {
        let user = self.requests.user();
        let rows = self.connections.query(&[/* user_id */ &user, /* device_id */ &DEVICE]).await?;
        one_package(&rows, "key_package")?;
        Ok(Some(1))
    }
}

/// Makes sure that a statement returned one package, and reads it.
fn one_package(rows: &[Row], column: &str) -> Result<(), CallError> {
    let [row] = rows else {
        return Err(CallError::Failed(format!("{} packages in place of one", rows.len())));
    };
    match row.try_get::<_, &[u8]>(column)? {
        [] => Err(CallError::Failed("a package without bytes".to_owned())),
        _ => Ok(()),
    }
}
