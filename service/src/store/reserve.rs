use super::{Store, StoreError, get, id, index, numbers};
use crate::types::{
    Bucket, CipherSuite, DeviceId, GroupId, Holder, KeyPackageRef, ReservationId, UserId,
};
use jiff::Timestamp;
use std::sync::LazyLock;

const RESERVE: &str = include_str!("sql/reserve.sql");
const EXPLAIN_MISSING: &str = include_str!("sql/explain_missing.sql");

/// The same statement, but it waits for packages whose lock another transaction holds instead of passing over them.
static RESERVE_WAITING: LazyLock<String> = LazyLock::new(|| RESERVE.replace("SKIP LOCKED", ""));

/// What all the items of one reserve share.
#[derive(Debug, Clone)]
pub struct ReserveFilter {
    /// The time of the call.
    pub now: Timestamp,
    /// Packages must be valid for longer than until here.
    pub min_not_after: Timestamp,
    /// Acceptable cipher suites; none means any.
    pub cipher_suites: Vec<CipherSuite>,
}

impl ReserveFilter {
    fn suites(&self) -> Option<Vec<i32>> {
        let suites: Vec<i32> = self.cipher_suites.iter().map(|suite| i32::from(suite.0)).collect();
        (!suites.is_empty()).then_some(suites)
    }
}

/// A user or device for which a call wants packages.
#[derive(Debug, Clone)]
pub struct ReserveItem {
    /// Number of the call: items of one call have the same, and the same reservation.
    pub call: usize,
    /// The user.
    pub user: UserId,
    /// The device; none means each of the user's.
    pub device: Option<DeviceId>,
    /// Devices to leave out.
    pub excluded: Vec<DeviceId>,
    /// The reservation.
    pub reservation: ReservationId,
    /// The group it is for.
    pub group: GroupId,
    /// Who holds it.
    pub holder: Holder,
    /// Who calls.
    pub principal: Holder,
    /// When a new hold ends.
    pub held_until: Timestamp,
    /// How many live holds the holder may have on one device; none means any number.
    pub max_holds: Option<u32>,
}

/// What a call has, of one device.
#[derive(Debug, Clone)]
pub struct ReserveRow {
    /// The call's number.
    pub call: usize,
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// What the call has.
    pub outcome: ReserveOutcome,
}

/// What a call has of a device, or why nothing.
#[derive(Debug, Clone)]
pub enum ReserveOutcome {
    /// A package.
    Reserved(ReservedRow),
    /// Nothing could be picked.
    Missing,
    /// The holder has as many live holds on the device as it may.
    Limited,
    /// The reservation holds a package of a cipher suite that is not acceptable now.
    OtherSuite,
    /// The reservation was made for another group.
    OtherGroup,
    /// The reservation is another holder's.
    OtherHolder,
}

/// A package that a reservation has.
#[derive(Clone)]
pub struct ReservedRow {
    /// Its ref.
    pub reference: KeyPackageRef,
    /// Its bytes.
    pub key_package: Vec<u8>,
    /// Its cipher suite.
    pub cipher_suite: CipherSuite,
    /// When its lifetime ends.
    pub not_after: Timestamp,
    /// When the hold ends; none if it is spent.
    pub held_until: Option<Timestamp>,
    /// Whether it is a last-resort package.
    pub last_resort: bool,
    /// Whether the reservation has spent it.
    pub spent: bool,
}

impl std::fmt::Debug for ReservedRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReservedRow")
            .field("reference", &self.reference)
            .field("cipher_suite", &self.cipher_suite)
            .field("held_until", &self.held_until)
            .field("last_resort", &self.last_resort)
            .field("spent", &self.spent)
            .finish_non_exhaustive()
    }
}

/// A user, or device of it, for which nothing was reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingItem {
    /// The user.
    pub user: UserId,
    /// The device; none if it is about the whole user.
    pub device: Option<DeviceId>,
}

/// What there is of a user or device for which nothing was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The user has a device.
    pub user_known: bool,
    /// The device has uploaded something.
    pub device_known: bool,
    /// There is a package that could be taken, as soon as another transaction lets go of it.
    pub takable: bool,
    /// The device has uploaded packages of an acceptable cipher suite.
    pub suite_known: bool,
    /// There is an available package, but its lifetime ends too soon.
    pub expires_too_soon: bool,
}

impl Store {
    /// Ensures that each call's reservation holds one package of each of its devices. With `wait`, packages locked by
    /// other transactions are waited for.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe.
    pub async fn reserve(
        &self,
        filter: &ReserveFilter,
        items: &[ReserveItem],
        wait: bool,
    ) -> Result<Vec<ReserveRow>, StoreError> {
        let excluded: Vec<(i32, &str)> = items
            .iter()
            .zip(0..)
            .flat_map(|(item, n)| item.excluded.iter().map(move |device| (n, device.as_str())))
            .collect();
        let call: Vec<i32> = items
            .iter()
            .map(|item| i32::try_from(item.call).map_err(StoreError::internal))
            .collect::<Result<_, _>>()?;
        let column = |of: fn(&ReserveItem) -> &str| items.iter().map(of).collect::<Vec<_>>();
        let bucket: Vec<i16> = items.iter().map(|item| Bucket::of(&item.user).number()).collect();
        let device: Vec<_> =
            items.iter().map(|item| item.device.as_ref().map(DeviceId::as_str)).collect();
        let group: Vec<_> = items.iter().map(|item| item.group.as_bytes()).collect();
        let held_until: Vec<_> = items.iter().map(|item| item.held_until).collect();
        let max_holds: Vec<_> = items.iter().map(|item| item.max_holds.map(i64::from)).collect();
        let (excluded_item, excluded_device): (Vec<i32>, Vec<&str>) = excluded.into_iter().unzip();
        let rows = self
            .rows(
                if wait { &RESERVE_WAITING } else { RESERVE },
                &[
                    /* item */ &numbers(items.len()),
                    /* call */ &call,
                    /* bucket */ &bucket,
                    /* user_id */ &column(|item| item.user.as_str()),
                    /* device_id */ &device,
                    /* reservation_id */ &column(|item| item.reservation.as_str()),
                    /* group_id */ &group,
                    /* holder */ &column(|item| item.holder.as_str()),
                    /* principal */ &column(|item| item.principal.as_str()),
                    /* held_until */ &held_until,
                    /* max_holds */ &max_holds,
                    /* excluded item */ &excluded_item,
                    /* excluded device_id */ &excluded_device,
                    /* now */ &filter.now,
                    /* min_not_after */ &filter.min_not_after,
                    /* cipher_suites */ &filter.suites(),
                ],
            )
            .await?;
        rows.iter().map(reserve_row).collect()
    }

    /// Says what there is of users and devices for which nothing was reserved, in their order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn explain_missing(
        &self,
        filter: &ReserveFilter,
        items: &[MissingItem],
    ) -> Result<Vec<Missing>, StoreError> {
        let bucket: Vec<i16> = items.iter().map(|item| Bucket::of(&item.user).number()).collect();
        let user: Vec<_> = items.iter().map(|item| item.user.as_str()).collect();
        let device: Vec<_> =
            items.iter().map(|item| item.device.as_ref().map(DeviceId::as_str)).collect();
        let rows = self
            .rows(
                EXPLAIN_MISSING,
                &[
                    /* item */ &numbers(items.len()),
                    /* bucket */ &bucket,
                    /* user_id */ &user,
                    /* device_id */ &device,
                    /* now */ &filter.now,
                    /* min_not_after */ &filter.min_not_after,
                    /* cipher_suites */ &filter.suites(),
                ],
            )
            .await?;
        let mut found = rows
            .iter()
            .map(|row| Ok((index(row, "item")?, missing(row)?)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        found.sort_by_key(|(item, _)| *item);
        Ok(found.into_iter().map(|(_, missing)| missing).collect())
    }
}

fn reserve_row(row: &tokio_postgres::Row) -> Result<ReserveRow, StoreError> {
    let outcome = match get::<&str>(row, "outcome")? {
        "reserved" => ReserveOutcome::Reserved(ReservedRow {
            reference: id(KeyPackageRef::new(get::<&[u8]>(row, "key_package_ref")?))?,
            key_package: get(row, "key_package")?,
            cipher_suite: cipher_suite(row)?,
            not_after: get(row, "not_after")?,
            held_until: get(row, "held_until")?,
            last_resort: get(row, "last_resort")?,
            spent: get(row, "spent")?,
        }),
        "missing" => ReserveOutcome::Missing,
        "limited" => ReserveOutcome::Limited,
        "other_suite" => ReserveOutcome::OtherSuite,
        "other_group" => ReserveOutcome::OtherGroup,
        "other_holder" => ReserveOutcome::OtherHolder,
        other => return Err(StoreError::internal(format!("unknown outcome {other}"))),
    };
    Ok(ReserveRow {
        call: index(row, "call")?,
        user: id(UserId::new(get::<&str>(row, "user_id")?))?,
        device: id(DeviceId::new(get::<&str>(row, "device_id")?))?,
        outcome,
    })
}

fn missing(row: &tokio_postgres::Row) -> Result<Missing, StoreError> {
    Ok(Missing {
        user_known: get(row, "user_known")?,
        device_known: get(row, "device_known")?,
        takable: get(row, "takable")?,
        suite_known: get(row, "suite_known")?,
        expires_too_soon: get(row, "expires_too_soon")?,
    })
}

pub(super) fn cipher_suite(row: &tokio_postgres::Row) -> Result<CipherSuite, StoreError> {
    let number: i32 = get(row, "cipher_suite")?;
    u16::try_from(number).map(CipherSuite).map_err(StoreError::internal)
}
