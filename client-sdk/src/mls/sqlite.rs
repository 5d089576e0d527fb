//! The SDK's tables in an SQLite database.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::private_file;

/// Each makes the next version of the tables, from none to the one that this version of the crate reads and
/// writes.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] =
    [include_str!("sqlite.sql"), include_str!("sqlite_pins.sql")];
const SCHEMA_VERSION: u32 = 2;

/// A connection to a database that has the SDK's tables. All of their names begin with `keypool_`.
#[derive(Debug, Clone)]
pub(super) struct Database(Arc<Mutex<Connection>>);

impl Database {
    /// A file, which is created if it does not exist, and which only its owner can read and write.
    pub(super) fn open(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        // Absolute, so that no name of a file is taken for a URI.
        let path = std::path::absolute(path).map_err(SqliteError::NotPrivate)?;
        private_file::prepare(&path).map_err(SqliteError::NotPrivate)?;
        Self::on(Arc::new(Mutex::new(Connection::open(path)?)))
    }

    /// The application's connection. Creates the tables if there are none.
    pub(super) fn on(connection: Arc<Mutex<Connection>>) -> Result<Self, SqliteError> {
        let database = Self(connection);
        database.write(migrate)?;
        Ok(database)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write<E: From<rusqlite::Error>>(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut connection = self.lock();
        // Two processes that both read first and then write would fail.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write(&transaction)?;
        Ok(transaction.commit()?)
    }
}

fn migrate(transaction: &Transaction<'_>) -> Result<(), SqliteError> {
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS keypool_schema (version INTEGER NOT NULL) STRICT",
    )?;
    let version: Option<u32> =
        transaction.query_row("SELECT max(version) FROM keypool_schema", (), |row| row.get(0))?;
    let version = version.unwrap_or(0);
    let missing = MIGRATIONS.get(version as usize..).ok_or(SqliteError::Version { version })?;
    for (migration, version) in missing.iter().zip(version + 1..) {
        transaction.execute_batch(migration)?;
        transaction.execute("INSERT INTO keypool_schema (version) VALUES (?1)", [version])?;
    }
    Ok(())
}

/// Why a database can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// SQLite failed.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),

    /// The file can't be created, or can't be made private to its owner, as when it belongs to another user.
    /// Choose another path, or have the owner set its mode to 0600.
    #[error("the file can't be created, or made private to its owner (mode 0600): {0}")]
    NotPrivate(#[source] std::io::Error),

    /// A later version of this crate has written the database.
    #[error(
        "the tables have version {version}, and this version of the crate knows {SCHEMA_VERSION}"
    )]
    Version {
        /// The version of the tables.
        version: u32,
    },
}
