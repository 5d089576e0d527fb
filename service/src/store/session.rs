use super::{
    Connector, Purpose, SchemaState, StoreError,
    circuit::Circuit,
    get,
    observe::Observed,
    requirements::{CHECK, Facts, Fault},
    schema_state,
};
use crate::clock::{Clock, Reading};
use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::{Duration, Instant},
};
use tokio::time::timeout;
use tokio_postgres::{Client, Row, Statement, types::ToSql};

/// A connection of a lane's own, with its prepared statements.
///
/// Whoever waits for a statement also drives the connection, so that no other task has to be woken for either. Between
/// statements nobody does: that the connection broke meanwhile is known with the next one.
pub struct Session {
    client: Client,
    connection: Connection,
    statements: HashMap<&'static str, Statement>,
    /// Who is told of each answer.
    circuit: Circuit,
    /// Which settings of the database it began with.
    generation: u64,
    /// The schema that its statements are about.
    schema: String,
}

/// What the check finds.
pub(super) struct Look {
    /// What the database's clock shows.
    pub(super) clock: Reading,
    /// Why keypool can't use it, what does not pass first.
    pub(super) faults: Vec<Fault>,
    /// The commits that wait for a standby.
    pub(super) waiting_commits: Vec<String>,
    /// Changes with the settings that new sessions begin with.
    pub(super) defaults: String,
}

/// What moves messages between a client and the database.
struct Connection {
    messages: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// How long a statement waits for its answer.
    patience: Duration,
}

impl Connection {
    /// Waits for an answer to the client, as long as there can be one.
    async fn answer<T, E: Into<StoreError>>(
        &mut self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, StoreError> {
        match self.drive(timeout(self.patience, answer)).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_elapsed) => Err(StoreError::silent()),
        }
    }

    /// Waits for a result of the client's, and moves its messages meanwhile.
    async fn drive<T>(&mut self, result: impl Future<Output = T>) -> T {
        let mut result = pin!(result);
        let mut ended = false;
        poll_fn(|context| {
            loop {
                if let Poll::Ready(value) = result.as_mut().poll(context) {
                    return Poll::Ready(value);
                }
                // It ends when the database closes it: then the client has its error.
                if ended || self.messages.as_mut().poll(context).is_pending() {
                    return result.as_mut().poll(context);
                }
                ended = true;
                self.messages = Box::pin(std::future::pending());
            }
        })
        .await
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) async fn connect(
        connector: &Connector,
        circuit: Circuit,
        clock: &dyn Clock,
        purpose: Purpose,
    ) -> Result<Self, StoreError> {
        let generation = circuit.generation();
        let connect = async {
            let (client, connection) =
                connector.connect().await.map_err(StoreError::unavailable)?;
            let messages = Box::pin(async {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended");
                }
            });
            let mut connection = Connection { messages, patience: purpose.answer_timeout() };
            connection.drive(connector.pin(&client, purpose)).await?;
            let schema = connector.schema_name().to_owned();
            let statements = HashMap::new();
            let mut session = Self { client, connection, statements, circuit, generation, schema };
            // Nothing is handed out before the database's time is known.
            clock.note(&session.look().await?.clock);
            Ok(session)
        };
        timeout(connector.patience(), connect)
            .await
            .unwrap_or_else(|elapsed| Err(StoreError::unavailable(elapsed)))
    }

    /// The schema that its statements are about.
    pub(super) fn schema_name(&self) -> String {
        self.schema.clone()
    }

    /// Changes a setting behind the back of whoever has pinned it.
    #[cfg(test)]
    pub(super) async fn set(&mut self, sql: &str) {
        self.connection.answer(self.client.batch_execute(sql)).await.expect("a setting");
    }

    /// Whether it is not to be used again: the connection has ended, or new sessions begin with other settings.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_broken() || self.generation != self.circuit.generation()
    }

    /// Whether the connection has ended.
    pub(super) fn is_broken(&self) -> bool {
        self.client.is_closed()
    }

    /// Who is told of each answer.
    pub(super) fn circuit(&self) -> Circuit {
        self.circuit.clone()
    }

    /// Runs a statement, which is prepared when it is first used.
    pub(super) async fn rows(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let observed = Observed::begin(sql);
        let rows = async {
            let statement = self.statement(sql).await?;
            self.connection.answer(self.client.query(&statement, params)).await
        };
        let rows = observed.end(rows).await?;
        self.circuit.note(Instant::now(), &Ok(()));
        Ok(rows)
    }

    async fn statement(&mut self, sql: &'static str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.connection.answer(self.client.prepare(sql)).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// Runs one statement and then another in a transaction, which `keep` decides to commit or to roll back by the rows of
    /// the second.
    pub(super) async fn transaction<T>(
        &mut self,
        first: (&'static str, &[&(dyn ToSql + Sync)]),
        second: (&'static str, &[&(dyn ToSql + Sync)]),
        keep: impl FnOnce(Vec<Row>) -> Result<(bool, T), StoreError>,
    ) -> Result<T, StoreError> {
        let observed = Observed::begin(second.0);
        let result = observed.end(self.run_transaction(first, second, keep)).await?;
        self.circuit.note(Instant::now(), &Ok(()));
        Ok(result)
    }

    async fn run_transaction<T>(
        &mut self,
        first: (&'static str, &[&(dyn ToSql + Sync)]),
        second: (&'static str, &[&(dyn ToSql + Sync)]),
        keep: impl FnOnce(Vec<Row>) -> Result<(bool, T), StoreError>,
    ) -> Result<T, StoreError> {
        let statements = [self.statement(first.0).await?, self.statement(second.0).await?];
        let transaction = async {
            let transaction = self.client.transaction().await?;
            transaction.execute(&statements[0], first.1).await?;
            let (keep, result) = keep(transaction.query(&statements[1], second.1).await?)?;
            if keep {
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
            Ok::<_, StoreError>(result)
        };
        self.connection.answer(transaction).await
    }

    /// What the database's clock shows, and whether the database is as it must be.
    pub(super) async fn look(&mut self) -> Result<Look, StoreError> {
        // Prepared before, so that the clock is read in one round trip.
        self.statement(CHECK).await?;
        let asked = Instant::now();
        let rows = self.rows(CHECK, &[]).await?;
        let answered = Instant::now();
        let row = rows.first().ok_or_else(|| StoreError::internal("no row of the check"))?;
        let clock = Reading { time: get(row, "time")?, asked, answered };
        Ok(Look {
            clock,
            faults: Facts::of(row)?.faults(),
            waiting_commits: get(row, "waiting_commits")?,
            defaults: get(row, "defaults")?,
        })
    }

    /// The schema, compared with the one that this version knows.
    pub(super) async fn schema(&mut self) -> Result<SchemaState, StoreError> {
        self.connection.answer(schema_state(&self.client)).await
    }
}
