use super::{Store, StoreError, get, lent::Planned};
use crate::types::Bucket;
use jiff::Timestamp;
use tokio_postgres::{Row, types::ToSql};

const PURGE_KEY_PACKAGES: &str = include_str!("sql/purge_key_packages.sql");
const LOG_LAPSED: &str = include_str!("sql/log_lapsed.sql");
const PURGE_SPEND_LOG: &str = include_str!("sql/purge_spend_log.sql");
const EMPTY_SPENT: &str = include_str!("sql/empty_spent.sql");
const EMPTY_SUPERSEDED: &str = include_str!("sql/empty_superseded.sql");

/// How many batches of spent packages a sweep empties in each bucket: more than one, or a busy bucket would never be done.
const EMPTYING_ROUNDS: usize = 10;

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

/// What a sweep may purge.
#[derive(Debug, Clone, Copy)]
pub struct SweepTerms {
    /// The bytes of packages that were spent or superseded before.
    pub spent_before: Timestamp,
    /// Packages that expired before.
    pub expired_before: Timestamp,
    /// Entries of the spend log that were logged before.
    pub logged_before: Timestamp,
}

/// What a sweep purged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Purged {
    /// Packages that could not be accepted any more.
    pub key_packages: u64,
    /// Entries of the spend log that are older than its retention.
    pub spend_log_entries: u64,
    /// Packages whose bytes are gone: they were spent, or superseded.
    pub emptied: u64,
}

impl std::ops::AddAssign for Purged {
    fn add_assign(&mut self, other: Self) {
        self.key_packages += other.key_packages;
        self.spend_log_entries += other.spend_log_entries;
        self.emptied += other.emptied;
    }
}

impl Store {
    /// Purges small batches in some buckets.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe, also on several replicas at once.
    pub async fn purge(
        &self,
        buckets: &Bucketful,
        terms: SweepTerms,
    ) -> Result<Purged, StoreError> {
        let SweepTerms { expired_before, logged_before, .. } = terms;
        // What was spent is found in the spend log: first, before that is purged.
        let emptied = self.empty_spent(buckets, terms).await?;
        let params: [&(dyn ToSql + Sync); 3] = [
            /* buckets */ &buckets.numbers(),
            /* superseded before */ &terms.spent_before,
            /* expired before */ &expired_before,
        ];
        let superseded =
            number(&self.rows_of(EMPTY_SUPERSEDED, &params, Planned::EachTime).await?)?;
        Ok(Purged {
            emptied: emptied + superseded,
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

    async fn empty_spent(&self, buckets: &Bucketful, terms: SweepTerms) -> Result<u64, StoreError> {
        let mut more = buckets.numbers().to_vec();
        let mut emptied = 0;
        for _ in 0..EMPTYING_ROUNDS {
            if more.is_empty() {
                break;
            }
            let params: [&(dyn ToSql + Sync); 3] = [
                /* buckets */ &more,
                /* spent before */ &terms.spent_before,
                /* expired before */ &terms.expired_before,
            ];
            let rows = self.rows_of(EMPTY_SPENT, &params, Planned::EachTime).await?;
            emptied += number(&rows)?;
            more = rows.first().map_or_else(|| Ok(Vec::new()), |row| get(row, "more"))?;
        }
        Ok(emptied)
    }

    async fn sweep_by(
        &self,
        sql: &'static str,
        buckets: &Bucketful,
        time: Timestamp,
    ) -> Result<u64, StoreError> {
        let params: [&(dyn ToSql + Sync); 2] =
            [/* buckets */ &buckets.numbers(), /* time */ &time];
        number(&self.rows_of(sql, &params, Planned::EachTime).await?)
    }
}

/// The number that a statement counts first.
fn number(rows: &[Row]) -> Result<u64, StoreError> {
    let number: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
    u64::try_from(number).map_err(StoreError::internal)
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::{
        clock::{Clock, SystemClock},
        store::{Connector, migrate},
        testing::database::TestDatabase,
    };
    use std::{sync::Arc, time::Duration};

    /// A plan of before the tables were filled would make them slow.
    #[tokio::test]
    async fn statements_over_many_buckets_are_planned_each_time() {
        let database = TestDatabase::create().await;
        let connector = Connector::plain(database.config());
        migrate(&connector, None).await.unwrap();
        // One connection, whose statements all are seen.
        let wait = Duration::from_secs(60);
        let store = Store::new(connector, Arc::new(SystemClock), 1, wait).unwrap();
        let (buckets, now) = (Bucketful::all(100).remove(0), SystemClock.now());
        let terms = SweepTerms { spent_before: now, expired_before: now, logged_before: now };
        store.purge(&buckets, terms).await.unwrap();
        store.log_lapsed(&buckets, now).await.unwrap();
        store.survey(&buckets, now, 1).await.unwrap();
        store.lowest_pools(&buckets, now, 1).await.unwrap();
        store.overview(&buckets, now).await.unwrap();
        let kept = "SELECT split_part(statement, chr(10), 1) FROM pg_prepared_statements \
                    WHERE statement LIKE '/* keypool: %'";
        let kept = store.rows(kept, &[]).await.unwrap();
        let kept: Vec<String> = kept.iter().map(|row| row.get(0)).collect();
        assert_eq!(kept, Vec::<String>::new());
    }
}
