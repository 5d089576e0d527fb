use super::{Store, StoreError, get};
use crate::types::Bucket;
use jiff::Timestamp;

const PURGE_KEY_PACKAGES: &str = include_str!("sql/purge_key_packages.sql");
const LOG_LAPSED: &str = include_str!("sql/log_lapsed.sql");
const PURGE_SPEND_LOG: &str = include_str!("sql/purge_spend_log.sql");

/// Some buckets.
#[derive(Debug, Clone)]
pub struct Bucketful(Vec<i16>);

impl Bucketful {
    /// All the buckets, so many at a time.
    #[must_use]
    pub fn all(size: usize) -> Vec<Self> {
        let buckets: Vec<i16> = (0..Bucket::COUNT).collect();
        buckets.chunks(size).map(|chunk| Self(chunk.to_vec())).collect()
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> &[i16] {
        &self.0
    }
}

/// What a sweep purged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Purged {
    /// Packages that could not be accepted any more.
    pub key_packages: u64,
    /// Entries of the spend log that are older than its retention.
    pub spend_log_entries: u64,
}

impl std::ops::AddAssign for Purged {
    fn add_assign(&mut self, other: Self) {
        self.key_packages += other.key_packages;
        self.spend_log_entries += other.spend_log_entries;
    }
}

impl Store {
    /// Purges one small batch in some buckets: packages that expired before `expired_before`, and entries that were
    /// logged before `logged_before`.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe.
    pub async fn purge(
        &self,
        buckets: &Bucketful,
        expired_before: Timestamp,
        logged_before: Timestamp,
    ) -> Result<Purged, StoreError> {
        Ok(Purged {
            key_packages: self.sweep_by(PURGE_KEY_PACKAGES, buckets, expired_before).await?,
            spend_log_entries: self.sweep_by(PURGE_SPEND_LOG, buckets, logged_before).await?,
        })
    }

    /// Notes which holds have lapsed in some buckets, at most 100 in each, and returns how many it noted.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe.
    pub async fn log_lapsed(&self, buckets: &Bucketful, now: Timestamp) -> Result<u64, StoreError> {
        self.sweep_by(LOG_LAPSED, buckets, now).await
    }

    async fn sweep_by(
        &self,
        sql: &'static str,
        buckets: &Bucketful,
        time: Timestamp,
    ) -> Result<u64, StoreError> {
        let rows = self.rows(sql, &[/* buckets */ &buckets.numbers(), /* time */ &time]).await?;
        let swept: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
        u64::try_from(swept).map_err(StoreError::internal)
    }
}
