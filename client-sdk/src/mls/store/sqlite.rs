//! A store in SQLite.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keypool_proto::v1::RejectionReason;
use rusqlite::{Connection, Row, params};

use super::super::BoxError;
use super::super::sqlite::{Database, SqliteError};
use super::{PoolRecord, PoolStore};

const PUT: &str = "
    INSERT OR REPLACE INTO keypool_package (
        user_id, device_id, key_package_ref, cipher_suite, last_resort, credential_hash,
        state, rejection, created_at, uploaded_at, changed_at, not_after
    ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

const RECORDS: &str = "
    SELECT key_package_ref, cipher_suite, last_resort, credential_hash,
           state, rejection, created_at, uploaded_at, changed_at, not_after
    FROM keypool_package
    WHERE user_id = ?1 AND device_id = ?2";

const FORGET: &str = "
    DELETE FROM keypool_package WHERE user_id = ?1 AND device_id = ?2 AND key_package_ref = ?3";

/// A [`PoolStore`] in SQLite: in a file of its own, or beside the application's tables, OpenMLS'
/// among them. All of its tables begin with `keypool_`, and one database may serve any number of
/// devices and processes.
///
/// What it returned is as durable as the connection makes a commit (`PRAGMA synchronous`).
#[derive(Debug)]
pub struct SqlitePoolStore {
    database: Database,
    user_id: String,
    device_id: String,
}

impl SqlitePoolStore {
    /// The record of this device in a file, which is created if it does not exist.
    ///
    /// On Unix only the owner can read and write the file (mode 0600): it is created so, and from an
    /// existing file, and those that SQLite has beside it, the rights of others are taken away.
    ///
    /// # Errors
    ///
    /// If the file can't be opened or written, can't be made private to its owner, or was written by a later
    /// version of this crate.
    pub fn open(
        path: impl AsRef<Path>,
        user_id: impl Into<String>,
        device_id: impl Into<String>,
    ) -> Result<Self, SqliteError> {
        let database = Database::open(path)?;
        Ok(Self { database, user_id: user_id.into(), device_id: device_id.into() })
    }

    /// The record of this device on a connection of the application, which decides who can read
    /// the file. It must not leave a
    /// transaction open on it when it lets go of the lock. Creates the tables if there are none.
    ///
    /// # Errors
    ///
    /// If the database can't be written, or was written by a later version of this crate.
    pub fn with_connection(
        connection: Arc<Mutex<Connection>>,
        user_id: impl Into<String>,
        device_id: impl Into<String>,
    ) -> Result<Self, SqliteError> {
        let database = Database::on(connection)?;
        Ok(Self { database, user_id: user_id.into(), device_id: device_id.into() })
    }
}

impl PoolStore for SqlitePoolStore {
    fn records(&self) -> Result<Vec<PoolRecord>, BoxError> {
        let connection = self.database.lock();
        let mut statement = connection.prepare_cached(RECORDS)?;
        let rows = statement.query_and_then((&self.user_id, &self.device_id), read)?;
        rows.collect()
    }

    fn put(&self, records: &[PoolRecord]) -> Result<(), BoxError> {
        self.database.write::<BoxError>(|transaction| {
            let mut statement = transaction.prepare_cached(PUT)?;
            for record in records {
                statement.execute(params![
                    self.user_id,
                    self.device_id,
                    record.key_package_ref,
                    record.cipher_suite,
                    record.last_resort,
                    record.credential_hash,
                    record.state.as_str(),
                    record.rejection.map(i32::from),
                    to_seconds(record.created_at)?,
                    record.uploaded_at.map(to_seconds).transpose()?,
                    to_seconds(record.changed_at)?,
                    to_seconds(record.not_after)?,
                ])?;
            }
            Ok(())
        })
    }

    fn forget(&self, key_package_refs: &[Vec<u8>]) -> Result<(), BoxError> {
        self.database.write::<BoxError>(|transaction| {
            let mut statement = transaction.prepare_cached(FORGET)?;
            for key_package_ref in key_package_refs {
                statement.execute(params![self.user_id, self.device_id, key_package_ref])?;
            }
            Ok(())
        })
    }
}

fn read(row: &Row<'_>) -> Result<PoolRecord, BoxError> {
    let rejection: Option<i32> = row.get("rejection")?;
    // A reason that only a later version knows.
    let rejection =
        rejection.map(|number| number.try_into().unwrap_or(RejectionReason::Unspecified));
    Ok(PoolRecord {
        key_package_ref: row.get("key_package_ref")?,
        cipher_suite: row.get("cipher_suite")?,
        last_resort: row.get("last_resort")?,
        credential_hash: row.get("credential_hash")?,
        state: row.get::<_, String>("state")?.parse()?,
        rejection,
        created_at: to_time(row.get("created_at")?)?,
        uploaded_at: row.get::<_, Option<u64>>("uploaded_at")?.map(to_time).transpose()?,
        changed_at: to_time(row.get("changed_at")?)?,
        not_after: to_time(row.get("not_after")?)?,
    })
}

fn to_seconds(time: SystemTime) -> Result<u64, BoxError> {
    Ok(time.duration_since(UNIX_EPOCH)?.as_secs())
}

fn to_time(seconds: u64) -> Result<SystemTime, BoxError> {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    time.ok_or_else(|| "a time out of range".into())
}
