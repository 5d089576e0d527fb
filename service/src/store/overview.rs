use super::{Bucketful, Store, StoreError, count, lent::Planned};
use jiff::Timestamp;

const OVERVIEW: &str = include_str!("sql/overview.sql");

/// What the database holds, or some buckets of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Overview {
    /// Users with at least one device.
    pub users: u64,
    /// Devices that uploaded at least once.
    pub devices: u64,
    /// One-time packages that can be reserved.
    pub available: u64,
    /// One-time packages under a live hold.
    pub reserved: u64,
    /// One-time packages whose lifetime ended unspent.
    pub expired: u64,
    /// One-time packages that a fence keeps back until their device has reconciled.
    pub quarantined: u64,
    /// One-time packages that were seen and not spent, and that only their holders get, or nobody.
    pub returned: u64,
    /// Revoked one-time packages.
    pub revoked: u64,
    /// Spent one-time packages, as far back as the spend log goes.
    pub spent: u64,
    /// Valid last-resort packages.
    pub last_resort: u64,
}

impl std::ops::AddAssign for Overview {
    fn add_assign(&mut self, other: Self) {
        self.users += other.users;
        self.devices += other.devices;
        self.available += other.available;
        self.reserved += other.reserved;
        self.expired += other.expired;
        self.quarantined += other.quarantined;
        self.returned += other.returned;
        self.revoked += other.revoked;
        self.spent += other.spent;
        self.last_resort += other.last_resort;
    }
}

impl Store {
    /// Counts what is in some buckets: for operators, not for requests.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn overview(
        &self,
        buckets: &Bucketful,
        now: Timestamp,
    ) -> Result<Overview, StoreError> {
        let rows = self.rows_of(OVERVIEW, &[&buckets.numbers(), &now], Planned::EachTime).await?;
        let Some(row) = rows.first() else { return Ok(Overview::default()) };
        Ok(Overview {
            users: count(row, "users")?,
            devices: count(row, "devices")?,
            available: count(row, "available")?,
            reserved: count(row, "reserved")?,
            expired: count(row, "expired")?,
            quarantined: count(row, "quarantined")?,
            returned: count(row, "returned")?,
            revoked: count(row, "revoked")?,
            spent: count(row, "spent")?,
            last_resort: count(row, "last_resort")?,
        })
    }
}
