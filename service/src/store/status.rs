use super::{DeviceKey, Store, StoreError, count, get, id, index, numbers, reserve::cipher_suite};
use crate::types::{Bucket, CipherSuite, DeviceId, KeyPackageRef, UserId};
use jiff::Timestamp;
use tokio_postgres::Row;

const POOL_STATUS: &str = include_str!("sql/pool_status.sql");
const UNUSABLE: &str = include_str!("sql/unusable.sql");
const WATCH: &str = include_str!("sql/watch.sql");

/// A device, and one of its pools; none if it never stored a package.
#[derive(Debug, Clone)]
pub struct StatusRow {
    /// The device.
    pub device: DeviceId,
    /// Its last upload.
    pub last_upload_at: Timestamp,
    /// The pool of one cipher suite.
    pub pool: Option<PoolRow>,
}

/// The counts of one device and cipher suite, all of one moment.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // the names are those of the API, which documents them
pub struct PoolRow {
    pub cipher_suite: CipherSuite,
    pub accepted: u64,
    pub available: u64,
    pub reserved: u64,
    pub spent: u64,
    pub expired: u64,
    pub revoked: u64,
    pub purged: u64,
    pub quarantined: u64,
    pub returned: u64,
    pub unspent: u64,
    pub expiring_soon: u64,
    pub last_resort: Option<LastResortRow>,
}

/// A device's valid last-resort package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastResortRow {
    /// Its ref.
    pub reference: KeyPackageRef,
    /// When its lifetime ends.
    pub not_after: Timestamp,
    /// When it was uploaded.
    pub uploaded_at: Timestamp,
    /// In how many reservations it is or was used.
    pub uses: u64,
}

/// A package that an inviter gave back as unusable.
#[derive(Debug, Clone)]
pub struct UnusableRow {
    /// The device.
    pub device: DeviceId,
    /// The package.
    pub reference: KeyPackageRef,
    /// The reason's number in the API.
    pub reason: i16,
    /// When the inviter said so.
    pub reported_at: Timestamp,
}

/// What a watcher is told about, of one device and cipher suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRow {
    /// The number of the device in the question.
    pub item: usize,
    /// The cipher suite.
    pub cipher_suite: CipherSuite,
    /// One-time packages that can be reserved.
    pub available: u64,
    /// One-time packages that were spent.
    pub spent: u64,
    /// The last-resort package, and its uses.
    pub last_resort: Option<(KeyPackageRef, u64)>,
}

impl Store {
    /// Reads the pools of a user, or of one device, ordered by device and cipher suite. Empty if none is known.
    /// Packages that expire before `soon` are counted as expiring soon.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn pool_status(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
        now: Timestamp,
        soon: Timestamp,
    ) -> Result<Vec<StatusRow>, StoreError> {
        let rows = self
            .rows(
                POOL_STATUS,
                &[
                    /* bucket */ &vec![Bucket::of(user).number()],
                    /* user_id */ &vec![user.as_str()],
                    /* device_id */ &vec![device.map(DeviceId::as_str)],
                    /* now */ &now,
                    /* soon */ &soon,
                ],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(StatusRow {
                    device: id(DeviceId::new(get::<&str>(row, "device_id")?))?,
                    last_upload_at: get(row, "last_upload_at")?,
                    pool: pool(row)?,
                })
            })
            .collect()
    }

    /// Lists what inviters of each device gave back as unusable, newest first, at most 10 for each.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn unusable(
        &self,
        user: &UserId,
        devices: &[&DeviceId],
    ) -> Result<Vec<UnusableRow>, StoreError> {
        let rows = self
            .rows(
                UNUSABLE,
                &[
                    /* bucket */ &vec![Bucket::of(user).number(); devices.len()],
                    /* user_id */ &vec![user.as_str(); devices.len()],
                    /* device_id */
                    &devices.iter().map(|device| device.as_str()).collect::<Vec<_>>(),
                ],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(UnusableRow {
                    device: id(DeviceId::new(get::<&str>(row, "device_id")?))?,
                    reference: id(KeyPackageRef::new(get::<&[u8]>(row, "key_package_ref")?))?,
                    reason: get(row, "unusable_reason")?,
                    reported_at: get(row, "reported_at")?,
                })
            })
            .collect()
    }

    /// Reads what watchers of these devices are told about, in one statement.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn watch(
        &self,
        devices: &[DeviceKey],
        now: Timestamp,
    ) -> Result<Vec<WatchRow>, StoreError> {
        let column = |of: fn(&DeviceKey) -> &str| devices.iter().map(of).collect::<Vec<_>>();
        let bucket: Vec<_> = devices.iter().map(|device| device.bucket.number()).collect();
        let rows = self
            .rows(
                WATCH,
                &[
                    /* item */ &numbers(devices.len()),
                    /* bucket */ &bucket,
                    /* user_id */ &column(|device| device.user.as_str()),
                    /* device_id */ &column(|device| device.device.as_str()),
                    /* now */ &now,
                ],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let last_resort = match get::<Option<&[u8]>>(row, "last_resort_ref")? {
                    Some(reference) => {
                        Some((id(KeyPackageRef::new(reference))?, count(row, "last_resort_uses")?))
                    }
                    None => None,
                };
                Ok(WatchRow {
                    item: index(row, "item")?,
                    cipher_suite: cipher_suite(row)?,
                    available: count(row, "available")?,
                    spent: count(row, "spent")?,
                    last_resort,
                })
            })
            .collect()
    }
}

fn pool(row: &Row) -> Result<Option<PoolRow>, StoreError> {
    if get::<Option<i32>>(row, "cipher_suite")?.is_none() {
        return Ok(None);
    }
    let last_resort = match get::<Option<&[u8]>>(row, "last_resort_ref")? {
        Some(reference) => Some(LastResortRow {
            reference: id(KeyPackageRef::new(reference))?,
            not_after: get(row, "last_resort_not_after")?,
            uploaded_at: get(row, "last_resort_uploaded_at")?,
            uses: count(row, "last_resort_uses")?,
        }),
        None => None,
    };
    let accepted: u64 = count(row, "accepted")?;
    let (purged, revoked) = (count(row, "purged")?, count(row, "revoked")?);
    // Each package is in one place: one that is nowhere else was spent.
    let elsewhere = purged + revoked + count(row, "stored")?;
    Ok(Some(PoolRow {
        cipher_suite: cipher_suite(row)?,
        accepted,
        available: count(row, "available")?,
        reserved: count(row, "reserved")?,
        spent: accepted.saturating_sub(elsewhere),
        expired: count(row, "expired")?,
        revoked,
        purged,
        quarantined: count(row, "quarantined")?,
        returned: count(row, "returned")?,
        unspent: count(row, "unspent")?,
        expiring_soon: count(row, "expiring_soon")?,
        last_resort,
    }))
}
