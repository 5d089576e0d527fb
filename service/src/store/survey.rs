use super::{Bucketful, Store, StoreError, count, get, id, lent::Planned, reserve::cipher_suite};
use crate::types::{CipherSuite, DeviceId, UserId};
use jiff::Timestamp;

const SURVEY: &str = include_str!("sql/survey.sql");
const LOWEST_POOLS: &str = include_str!("sql/lowest_pools.sql");

/// How the pools of one cipher suite are, in some buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurveyRow {
    /// The cipher suite.
    pub cipher_suite: CipherSuite,
    /// Pools without an available one-time package.
    pub empty: u64,
    /// Pools with fewer than the low watermark.
    pub low: u64,
    /// The other pools.
    pub healthy: u64,
    /// Pools without a valid last-resort package.
    pub without_last_resort: u64,
    /// One-time packages that can be reserved.
    pub available: u64,
    /// One-time packages under a live hold.
    pub reserved: u64,
    /// One-time packages whose lifetime ended unspent.
    pub expired: u64,
    /// One-time packages that a fence keeps back.
    pub quarantined: u64,
    /// One-time packages that were seen and not spent, and that only their holders get, or nobody.
    pub returned: u64,
}

/// A pool that has little left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowPool {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// The cipher suite.
    pub cipher_suite: CipherSuite,
    /// One-time packages that can be reserved.
    pub available: u64,
    /// One-time packages under a live hold.
    pub reserved: u64,
    /// One-time packages that a fence keeps back.
    pub quarantined: u64,
    /// Whether there is a valid last-resort package.
    pub has_last_resort: bool,
    /// The device's last upload.
    pub last_upload_at: Timestamp,
}

impl Store {
    /// The pools in some buckets with the fewest available one-time packages, the lowest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn lowest_pools(
        &self,
        buckets: &Bucketful,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<LowPool>, StoreError> {
        let rows = self
            .rows_of(
                LOWEST_POOLS,
                &[&buckets.numbers(), &now, &i64::from(limit)],
                Planned::EachTime,
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LowPool {
                    user: id(UserId::new(get::<&str>(row, "user_id")?))?,
                    device: id(DeviceId::new(get::<&str>(row, "device_id")?))?,
                    cipher_suite: cipher_suite(row)?,
                    available: count(row, "available")?,
                    reserved: count(row, "reserved")?,
                    quarantined: count(row, "quarantined")?,
                    has_last_resort: get(row, "has_last_resort")?,
                    last_upload_at: get(row, "last_upload_at")?,
                })
            })
            .collect()
    }

    /// Counts the pools in some buckets by their health, for each cipher suite that there is.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn survey(
        &self,
        buckets: &Bucketful,
        now: Timestamp,
        low_watermark: u32,
    ) -> Result<Vec<SurveyRow>, StoreError> {
        let rows = self
            .rows_of(
                SURVEY,
                &[
                    /* buckets */ &buckets.numbers(),
                    /* now */ &now,
                    /* low_watermark */ &i64::from(low_watermark),
                ],
                Planned::EachTime,
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(SurveyRow {
                    cipher_suite: cipher_suite(row)?,
                    empty: count(row, "empty")?,
                    low: count(row, "low")?,
                    healthy: count(row, "healthy")?,
                    without_last_resort: count(row, "without_last_resort")?,
                    available: count(row, "available")?,
                    reserved: count(row, "reserved")?,
                    expired: count(row, "expired")?,
                    quarantined: count(row, "quarantined")?,
                    returned: count(row, "returned")?,
                })
            })
            .collect()
    }
}
