//! A journal in SQLite.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension};

use super::{InviteJournal, InviteRecord};
use crate::mls::BoxError;
use crate::mls::sqlite::{Database, SqliteError};

const SAVE: &str = "INSERT OR REPLACE INTO keypool_invite (group_id, record) VALUES (?1, ?2)";
const LOAD: &str = "SELECT record FROM keypool_invite WHERE group_id = ?1";
const REMOVE: &str = "DELETE FROM keypool_invite WHERE group_id = ?1";

/// An [`InviteJournal`] in SQLite: in a file of its own, or beside the application's tables, OpenMLS'
/// among them. For the groups of one device.
///
/// What it returned is as durable as the connection makes a commit (`PRAGMA synchronous`).
#[derive(Debug)]
pub struct SqliteInviteJournal(Database);

impl SqliteInviteJournal {
    /// The journal in a file, which is created if it does not exist.
    ///
    /// On Unix only the owner can read and write the file (mode 0600): it is created so, and from an
    /// existing file, and those that SQLite has beside it, the rights of others are taken away.
    ///
    /// # Errors
    ///
    /// If the file can't be opened or written, can't be made private to its owner, or was written by a later
    /// version of this crate.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        Database::open(path).map(Self)
    }

    /// The journal on a connection of the application, which decides who can read
    /// the file. It must not leave a transaction open on it
    /// when it lets go of the lock. Creates the tables if there are none.
    ///
    /// # Errors
    ///
    /// If the database can't be written, or was written by a later version of this crate.
    pub fn with_connection(connection: Arc<Mutex<Connection>>) -> Result<Self, SqliteError> {
        Database::on(connection).map(Self)
    }
}

impl InviteJournal for SqliteInviteJournal {
    fn save(&self, record: &InviteRecord) -> Result<(), BoxError> {
        let encoded = serde_json::to_vec(record)?;
        self.0.write::<BoxError>(|transaction| {
            transaction.prepare_cached(SAVE)?.execute((record.group_id(), encoded))?;
            Ok(())
        })
    }

    fn load(&self, group_id: &[u8]) -> Result<Option<InviteRecord>, BoxError> {
        let connection = self.0.lock();
        let mut statement = connection.prepare_cached(LOAD)?;
        let encoded: Option<Vec<u8>> =
            statement.query_row([group_id], |row| row.get(0)).optional()?;
        Ok(encoded.map(|encoded| serde_json::from_slice(&encoded)).transpose()?)
    }

    fn remove(&self, group_id: &[u8]) -> Result<(), BoxError> {
        self.0.write::<BoxError>(|transaction| {
            transaction.prepare_cached(REMOVE)?.execute([group_id])?;
            Ok(())
        })
    }
}
