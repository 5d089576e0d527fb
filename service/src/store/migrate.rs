//! Brings the schema to the newest version, beside services and whatever else uses the tables.

use super::{
    Connector, Purpose, SchemaState, StoreError, blockers::Blockers, fence::GUARDED, get,
    grants::grant, schema_state,
};
use crate::causes::causes;
use std::{error::Error, time::Duration};
use tokio::time::sleep;
use tokio_postgres::{Client, error::SqlState};

const GUARD: &str = include_str!("sql/guard.sql");

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The migrations of this version.
pub(super) fn embedded_migrations() -> Vec<refinery::Migration> {
    embedded::migrations::runner().get_migrations().clone()
}

/// The key of the advisory lock that makes migrations take turns ("keypool" in bytes).
const LOCK: i64 = 0x006b_6579_706f_6f6c;

/// How often it is asked whether it is our turn.
const TURN_INTERVAL: Duration = Duration::from_millis(500);

/// How long a first try waits for a lock. Every statement on the table waits behind it for as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// How long a later try waits: longer than PostgreSQL's `deadlock_timeout`, after which autovacuum gives way.
const LONGEST_WAIT: Duration = Duration::from_millis(1100);

/// How much longer than a try the pause after it is.
const PAUSE: u32 = 8;

/// What migrations set beside what every session does. A migrating session that has hung is ended, so that it does not keep its
/// locks: it is never idle for as long.
const SESSION: &str = "/* keypool: migrating_session */ \
    SELECT set_config(name, value, false) \
    FROM (VALUES ('idle_in_transaction_session_timeout', '10s'), ('idle_session_timeout', '60s'), \
                 ('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '1'), ('tcp_keepalives_count', '5') \
         ) AS ours (name, value) \
    JOIN pg_settings USING (name)";

/// Why the schema could not be migrated. What was migrated before stays; the migration that failed leaves nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database failed.
    #[error("the schema could not be migrated, because the database failed")]
    Store(#[from] StoreError),
    /// A migration failed.
    #[error("a migration failed, and was rolled back")]
    Migration(#[from] Box<refinery::Error>),
    /// The schema is none that can be migrated.
    #[error("{0}")]
    Schema(SchemaState),
    /// The runtime role could not be given its rights.
    #[error("the role {role:?} could not be given its rights: does it exist?")]
    Grant {
        /// The role.
        role: String,
        /// What the database says.
        #[source]
        source: StoreError,
    },
}

impl MigrateError {
    /// Whether somebody was in the way, so that the same can succeed later.
    fn is_passing(&self) -> bool {
        let code = match self {
            Self::Store(error) | Self::Grant { source: error, .. } => error.code(),
            Self::Migration(error) => error
                .source()
                .and_then(|source| source.downcast_ref::<tokio_postgres::Error>())
                .and_then(tokio_postgres::Error::code),
            Self::Schema(_) => None,
        };
        let passing = [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
        ];
        code.is_some_and(|code| passing.contains(code))
    }
}

/// Brings the schema to the newest version, gives the runtime role its rights, and returns what the schema was before. Several
/// callers at once take turns.
///
/// It waits for locks a moment at a time, so that nobody waits behind it for long, and tries again for as long as it takes. The
/// log says what it waits for.
///
/// # Errors
/// If the database fails or refuses a migration, or the schema is not keypool's or too new.
pub async fn migrate(
    connector: &Connector,
    runtime_role: Option<&str>,
) -> Result<SchemaState, MigrateError> {
    let mut client = connect(connector).await?;
    // Only what is behind: a role without the right to change the schema may still serve.
    let before = ours(&client).await?;
    let is_served = before.unserved().is_none();
    if is_served && runtime_role.is_none() && is_guarded(&client).await? {
        return Ok(before);
    }
    let mut blockers = Blockers::new(connect(connector).await?, backend(&client).await?);
    take_turn(&client, &mut blockers).await?;
    // Another may have migrated it meanwhile, and to a newer version.
    if ours(&client).await?.unserved().is_some() {
        patiently(Step::Migrate, &mut client, &mut blockers).await?;
    }
    if !is_guarded(&client).await? {
        match patiently(Step::Guard, &mut client, &mut blockers).await {
            // The service is not ready then, and says why.
            Err(MigrateError::Store(error))
                if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) =>
            {
                tracing::warn!(
                    error = causes(&error),
                    "triggers that notice restores stay disabled: run `keypool migrate` as the role that owns the tables"
                );
            }
            guarded => guarded?,
        }
    }
    if let Some(role) = runtime_role {
        patiently(Step::Grant(role), &mut client, &mut blockers).await?;
    }
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await.map_err(StoreError::from)?;
    Ok(before)
}

/// The state of a schema that is keypool's, and not too new.
async fn ours(client: &Client) -> Result<SchemaState, MigrateError> {
    match schema_state(client).await? {
        ours @ (SchemaState::Current | SchemaState::Expanded | SchemaState::Behind { .. }) => {
            Ok(ours)
        }
        other => Err(MigrateError::Schema(other)),
    }
}

/// Whether it would show if a table were emptied to be filled from a backup.
async fn is_guarded(client: &Client) -> Result<bool, StoreError> {
    get(&client.query_one(GUARDED, &[]).await?, 0)
}

/// A client with the settings of a migration, whose connection ends with it.
async fn connect(connector: &Connector) -> Result<Client, StoreError> {
    let (client, connection) = connector.connect().await.map_err(StoreError::unavailable)?;
    tokio::spawn(connection);
    connector.pin(&client, Purpose::Migration).await?;
    client.query(SESSION, &[]).await?;
    Ok(client)
}

async fn backend(client: &Client) -> Result<i32, StoreError> {
    get(&client.query_one("SELECT pg_backend_pid()", &[]).await?, 0)
}

/// Waits until no other migration is under way. It asks again and again, so that it holds nothing while it waits.
async fn take_turn(client: &Client, blockers: &mut Blockers) -> Result<(), StoreError> {
    let take = "/* keypool: take_turn */ SELECT pg_try_advisory_lock($1)";
    while !get::<bool>(&client.query_one(take, &[&LOCK]).await?, 0)? {
        blockers.tell_holders(LOCK).await;
        sleep(TURN_INTERVAL).await;
    }
    Ok(())
}

/// What may have to wait for locks.
#[derive(Clone, Copy)]
enum Step<'a> {
    Migrate,
    /// Sets triggers again that a restore has disabled.
    Guard,
    Grant(&'a str),
}

impl Step<'_> {
    /// Does it, or fails and leaves nothing behind of the migration that failed.
    async fn attempt(self, client: &mut Client) -> Result<(), MigrateError> {
        match self {
            Self::Migrate => {
                let migrated = embedded::migrations::runner().run_async(client).await;
                migrated.map(drop).map_err(|error| MigrateError::Migration(Box::new(error)))
            }
            Self::Guard => {
                let guard = format!("BEGIN; {GUARD} COMMIT");
                let guarded = client.batch_execute(&guard).await;
                if guarded.is_err() {
                    client.batch_execute("ROLLBACK").await.map_err(StoreError::from)?;
                }
                Ok(guarded.map_err(StoreError::from)?)
            }
            Self::Grant(role) => {
                let granted = grant(client, role).await;
                granted.map_err(|source| MigrateError::Grant { role: role.to_owned(), source })
            }
        }
    }
}

/// Tries until nobody is in the way.
async fn patiently(
    step: Step<'_>,
    client: &mut Client,
    blockers: &mut Blockers,
) -> Result<(), MigrateError> {
    let mut wait = FIRST_WAIT;
    loop {
        let limit = format!("SET lock_timeout = {}", wait.as_millis());
        client.batch_execute(&limit).await.map_err(StoreError::from)?;
        let result = tokio::select! {
            result = step.attempt(client) => result,
            never = blockers.watch() => match never {},
        };
        match result {
            Err(error) if error.is_passing() => blockers.tell_unseen(),
            result => return result,
        }
        sleep(wait * PAUSE).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
