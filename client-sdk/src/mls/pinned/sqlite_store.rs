//! Remembered devices in SQLite.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::store::{PinStore, PinnedUser};
use crate::mls::BoxError;
use crate::mls::sqlite::{Database, SqliteError};

const LOAD: &str = "SELECT devices FROM keypool_pinned_user WHERE user_id = ?1";
const SAVE: &str = "INSERT OR REPLACE INTO keypool_pinned_user (user_id, devices) VALUES (?1, ?2)";

/// A [`PinStore`] in SQLite: in a file of its own, or beside the application's tables, OpenMLS' among
/// them. For one device; processes may share it.
///
/// What it returned is as durable as the connection makes a commit (`PRAGMA synchronous`).
#[derive(Debug)]
pub struct SqlitePinStore(Database);

impl SqlitePinStore {
    /// The store in a file, which is created if it does not exist.
    ///
    /// On Unix only the owner can read and write the file (mode 0600): it is created so, and from an
    /// existing file, and those that SQLite has beside it, the rights of others are taken away.
    ///
    /// # Errors
    ///
    /// If the file can't be opened or written, can't be made private to its owner, or was written by a
    /// later version of this crate.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        Database::open(path).map(Self)
    }

    /// The store on a connection of the application, which decides who can read the file. It must not
    /// leave a transaction open on it when it lets go of the lock. Creates the tables if there are none.
    ///
    /// # Errors
    ///
    /// If the database can't be written, or was written by a later version of this crate.
    pub fn with_connection(connection: Arc<Mutex<Connection>>) -> Result<Self, SqliteError> {
        Database::on(connection).map(Self)
    }
}

impl PinStore for SqlitePinStore {
    fn load(&self, user_id: &str) -> Result<Option<PinnedUser>, BoxError> {
        load(&self.0.lock(), user_id)
    }

    fn replace(
        &self,
        user_id: &str,
        before: Option<&PinnedUser>,
        now: &PinnedUser,
    ) -> Result<bool, BoxError> {
        let devices = serde_json::to_vec(now)?;
        let mut is_replaced = false;
        self.0.write::<BoxError>(|transaction: &Transaction<'_>| {
            is_replaced = load(transaction, user_id)?.as_ref() == before;
            if is_replaced {
                transaction.prepare_cached(SAVE)?.execute((user_id, devices))?;
            }
            Ok(())
        })?;
        Ok(is_replaced)
    }
}

fn load(connection: &Connection, user_id: &str) -> Result<Option<PinnedUser>, BoxError> {
    let mut statement = connection.prepare_cached(LOAD)?;
    let devices: Option<Vec<u8>> = statement.query_row([user_id], |row| row.get(0)).optional()?;
    Ok(devices.map(|devices| serde_json::from_slice(&devices)).transpose()?)
}
