use super::{StoreError, get};
use std::cmp::Ordering;
use tokio_postgres::Client;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The key of the advisory lock that makes migrations take turns ("keypool" in bytes).
const LOCK: i64 = 0x006b_6579_706f_6f6c;

/// The newest migration that this version knows.
fn newest() -> i32 {
    let version = |migration: &refinery::Migration| migration.version();
    embedded::migrations::runner().get_migrations().iter().map(version).max().unwrap_or_default()
}

/// Why the schema could not be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database failed.
    #[error("the database could not be asked")]
    Store(#[from] StoreError),
    /// A migration failed, and was rolled back.
    #[error("a migration failed")]
    Migration(#[from] Box<refinery::Error>),
}

/// A database's schema, compared with the one that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// It is the one that this version knows.
    Current,
    /// It is older: migrate it.
    Behind {
        /// The schema's version; 0 for an empty database.
        found: i32,
        /// The version that is known.
        known: i32,
    },
    /// It is newer, and still serves this version, as while a newer one is rolled out.
    Expanded,
    /// It is newer, and does not serve this version any more: use a newer keypool.
    Ahead {
        /// The schema's version.
        found: i32,
        /// The version that is known.
        known: i32,
    },
}

/// Brings the schema to the newest version. Several callers at once take turns.
///
/// # Errors
/// If the database fails or refuses a migration; what was migrated before stays.
pub async fn migrate(client: &mut Client) -> Result<(), MigrateError> {
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(StoreError::from)?;
    let result = embedded::migrations::runner().run_async(client).await;
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await.map_err(StoreError::from)?;
    result.map(drop).map_err(|error| MigrateError::Migration(Box::new(error)))
}

/// Compares the schema with the one that this version knows.
///
/// # Errors
/// If the database can't be asked.
pub async fn schema_state(client: &Client) -> Result<SchemaState, StoreError> {
    let known = newest();
    let history =
        "/* keypool: schema_exists */ SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    let found: i32 = if get(&client.query_one(history, &[]).await?, 0)? {
        let version = "/* keypool: schema_version */ SELECT COALESCE(max(version), 0) FROM refinery_schema_history";
        get(&client.query_one(version, &[]).await?, 0)?
    } else {
        0
    };
    Ok(match found.cmp(&known) {
        Ordering::Equal => SchemaState::Current,
        Ordering::Less => SchemaState::Behind { found, known },
        Ordering::Greater => {
            let least = "/* keypool: served_schema */ SELECT least FROM served_schema";
            let least: i32 = get(&client.query_one(least, &[]).await?, 0)?;
            if least <= known { SchemaState::Expanded } else { SchemaState::Ahead { found, known } }
        }
    })
}
