use super::{Store, StoreError, get, id, reserve::cipher_suite};
use crate::types::{
    Bucket, CipherSuite, DeviceId, GroupId, Holder, KeyPackageRef, ReservationId, UserId,
};
use jiff::Timestamp;

const SPEND_LOG_PAGE: &str = include_str!("sql/spend_log_page.sql");

/// Which entries of the spend log to read: those that match everything that is set.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)] // the names are those of the API, which documents them
pub struct LogFilter {
    pub user: Option<UserId>,
    pub device: Option<DeviceId>,
    pub reservation: Option<ReservationId>,
    pub group: Option<GroupId>,
    pub holder: Option<Holder>,
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
}

/// Where a page of the log ended: the order of its entries, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPosition {
    /// When the entry was made.
    pub logged_at: Timestamp,
    /// Its package.
    pub reference: KeyPackageRef,
    /// Its reservation.
    pub reservation: ReservationId,
    /// Its holder.
    pub holder: Holder,
}

/// An entry of the spend log.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // the names are those of the API, which documents them
pub struct LogRow {
    pub user: UserId,
    pub device: DeviceId,
    pub position: LogPosition,
    pub cipher_suite: CipherSuite,
    pub last_resort: bool,
    pub group: GroupId,
    pub principal: Option<Holder>,
    pub spent_at: Option<Timestamp>,
    pub released_at: Option<Timestamp>,
    pub lapsed_at: Option<Timestamp>,
    pub unusable_reason: Option<i16>,
}

impl Store {
    /// Reads at most `limit` entries that come after a position, newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn spend_log(
        &self,
        filter: &LogFilter,
        after: Option<&LogPosition>,
        limit: u32,
    ) -> Result<Vec<LogRow>, StoreError> {
        let buckets: Vec<i16> = match &filter.user {
            Some(user) => vec![Bucket::of(user).number()],
            None => (0..Bucket::COUNT).collect(),
        };
        let rows = self
            .rows(
                SPEND_LOG_PAGE,
                &[
                    /* buckets */ &buckets,
                    /* user_id */ &filter.user.as_ref().map(UserId::as_str),
                    /* device_id */ &filter.device.as_ref().map(DeviceId::as_str),
                    /* reservation_id */
                    &filter.reservation.as_ref().map(ReservationId::as_str),
                    /* group_id */ &filter.group.as_ref().map(GroupId::as_bytes),
                    /* holder */ &filter.holder.as_ref().map(Holder::as_str),
                    /* start */ &filter.start,
                    /* end */ &filter.end,
                    /* after logged_at */ &after.map(|position| position.logged_at),
                    /* after key_package_ref */
                    &after.map(|position| position.reference.as_bytes()),
                    /* after reservation_id */
                    &after.map(|position| position.reservation.as_str()),
                    /* limit */ &i64::from(limit),
                    /* after holder */ &after.map(|position| position.holder.as_str()),
                ],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LogRow {
                    user: id(UserId::new(get::<&str>(row, "user_id")?))?,
                    device: id(DeviceId::new(get::<&str>(row, "device_id")?))?,
                    position: LogPosition {
                        logged_at: get(row, "logged_at")?,
                        reference: id(KeyPackageRef::new(get::<&[u8]>(row, "key_package_ref")?))?,
                        reservation: id(ReservationId::new(get::<&str>(row, "reservation_id")?))?,
                        holder: id(Holder::new(get::<&str>(row, "holder")?))?,
                    },
                    cipher_suite: cipher_suite(row)?,
                    last_resort: get(row, "last_resort")?,
                    group: id(GroupId::new(get::<&[u8]>(row, "group_id")?))?,
                    principal: get::<Option<&str>>(row, "principal")?
                        .map(|principal| id(Holder::new(principal)))
                        .transpose()?,
                    spent_at: get(row, "spent_at")?,
                    released_at: get(row, "released_at")?,
                    lapsed_at: get(row, "lapsed_at")?,
                    unusable_reason: get(row, "unusable_reason")?,
                })
            })
            .collect()
    }
}
