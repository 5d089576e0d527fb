//! What a reservation does with what it holds: spend, release, extend.

use super::{DeviceKey, Session, Store, StoreError, get, id, index, numbers};
use crate::types::{GroupId, Holder, KeyPackageRef, ReservationId};
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};
use tokio_postgres::Row;

const SPEND: &str = include_str!("sql/spend.sql");
const SPEND_REST: &str = include_str!("sql/spend_rest.sql");
const RELEASE: &str = include_str!("sql/release.sql");
const EXTEND: &str = include_str!("sql/extend.sql");
const REPORTED: &str = include_str!("sql/reported.sql");
const TRACE: &str = include_str!("sql/trace.sql");

/// A package that a reservation says it holds.
#[derive(Debug, Clone)]
pub struct HeldItem {
    /// Whose package.
    pub device: DeviceKey,
    /// Which package.
    pub reference: KeyPackageRef,
    /// The reservation.
    pub reservation: ReservationId,
    /// Who says so; none means whoever holds it, which only a release may say.
    pub holder: Option<Holder>,
}

/// A package to spend.
#[derive(Debug, Clone)]
pub struct SpendItem {
    /// The package.
    pub held: HeldItem,
    /// The group it was used for.
    pub group: GroupId,
    /// Who calls.
    pub principal: Holder,
}

/// A package to release.
#[derive(Debug, Clone)]
pub struct ReleaseItem {
    /// The package.
    pub held: HeldItem,
    /// Who calls; none if nobody knows of the hold, so that nobody has seen the package.
    pub principal: Option<Holder>,
    /// What the caller says is wrong with it.
    pub report: Option<Report>,
    /// Set: when the reservation asked for it. What it has asked for again since is left alone.
    pub asked_at: Option<Timestamp>,
}

/// That a package is unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The reason's number in the API.
    pub reason: i16,
    /// Whether the caller's word counts: then nobody gets the package again. Else the report is only noted.
    pub is_believed: bool,
}

/// The items that a statement extended, with the ends of their holds.
pub type Extended = HashMap<usize, Timestamp>;

/// A hold as it stands on a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRef {
    /// The reservation.
    pub reservation: ReservationId,
    /// Its group.
    pub group: GroupId,
    /// Its holder.
    pub holder: Holder,
}

/// An entry that a reservation has in the spend log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRef {
    /// The group.
    pub group: GroupId,
    /// The holder.
    pub holder: Holder,
    /// It is spent.
    pub spent: bool,
    /// It was given back.
    pub released: bool,
    /// The hold lapsed.
    pub lapsed: bool,
    /// It is of a last-resort package.
    pub last_resort: bool,
}

/// Where a package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The package's lifetime end and whether it is a last-resort package; none if it isn't known.
    pub known: Option<(Timestamp, bool)>,
    /// It is in the pool: with the hold on it, live or lapsed, if any.
    pub in_pool: Option<Option<HoldRef>>,
    /// The hold lapsed while the package was quarantined: nobody knows who took the package since.
    pub hold_lost: bool,
    /// The hold lapsed and was as long as a hold may be in all.
    pub hold_over: bool,
    /// The holder has held it, under whatever reservation.
    pub was_held: bool,
    /// It was revoked: with the hold that it had, if any.
    pub revoked: Option<Option<HoldRef>>,
    /// When it was revoked, one-time or last resort.
    pub revoked_at: Option<Timestamp>,
    /// What the spend log says of it and this reservation.
    pub logged: Option<LogRef>,
}

/// The columns that name held packages, one element for each.
struct Columns<'a> {
    item: Vec<i32>,
    bucket: Vec<i16>,
    user: Vec<&'a str>,
    device: Vec<&'a str>,
    reference: Vec<&'a [u8]>,
    reservation: Vec<&'a str>,
    holder: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(items: impl Iterator<Item = &'a HeldItem> + Clone) -> Self {
        let text = |of: fn(&'a HeldItem) -> &'a str| items.clone().map(of).collect::<Vec<_>>();
        Self {
            item: numbers(items.clone().count()),
            bucket: items.clone().map(|item| item.device.bucket.number()).collect(),
            user: text(|item| item.device.user.as_str()),
            device: text(|item| item.device.device.as_str()),
            reference: items.clone().map(|item| item.reference.as_bytes()).collect(),
            reservation: text(|item| item.reservation.as_str()),
            holder: items.clone().map(|item| item.holder.as_ref().map(Holder::as_str)).collect(),
        }
    }
}

impl Session {
    /// Spends one-time packages that are held as the items say and that nobody has seen before, and returns the numbers of the items
    /// that it spent. Like
    /// [`Self::spend_rest`], [`Self::release`] and [`Self::extend`], it passes over rows that another transaction has locked.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe.
    pub async fn spend(
        &mut self,
        items: &[SpendItem],
        now: Timestamp,
    ) -> Result<HashSet<usize>, StoreError> {
        self.spend_by(SPEND, items, now, None).await
    }

    /// Spends, of what [`Self::spend`] did not, packages that somebody has seen before, those that were revoked while held and after
    /// `revoked_after`, and last-resort packages. Returns the numbers of the items that it spent.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe.
    pub async fn spend_rest(
        &mut self,
        items: &[SpendItem],
        now: Timestamp,
        revoked_after: Timestamp,
    ) -> Result<HashSet<usize>, StoreError> {
        self.spend_by(SPEND_REST, items, now, Some(revoked_after)).await
    }

    async fn spend_by(
        &mut self,
        sql: &'static str,
        items: &[SpendItem],
        now: Timestamp,
        revoked_after: Option<Timestamp>,
    ) -> Result<HashSet<usize>, StoreError> {
        let columns = Columns::of(items.iter().map(|item| &item.held));
        let group: Vec<_> = items.iter().map(|item| item.group.as_bytes()).collect();
        let principal: Vec<_> = items.iter().map(|item| item.principal.as_str()).collect();
        let mut params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![
            /* item */ &columns.item,
            /* bucket */ &columns.bucket,
            /* user_id */ &columns.user,
            /* device_id */ &columns.device,
            /* key_package_ref */ &columns.reference,
            /* reservation_id */ &columns.reservation,
            /* group_id */ &group,
            /* holder */ &columns.holder,
            /* principal */ &principal,
            /* now */ &now,
        ];
        if let Some(revoked_after) = &revoked_after {
            params.push(revoked_after);
        }
        self.rows(sql, &params).await?.iter().map(|row| index(row, "item")).collect()
    }

    /// Ends what is held as the items say, and returns the numbers of those that were.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe.
    pub async fn release(
        &mut self,
        items: &[ReleaseItem],
        now: Timestamp,
    ) -> Result<HashSet<usize>, StoreError> {
        let columns = Columns::of(items.iter().map(|item| &item.held));
        let reports = || items.iter().map(|item| item.report);
        let unusable_reason: Vec<Option<i16>> =
            reports().map(|report| report.map(|report| report.reason)).collect();
        let principal: Vec<_> =
            items.iter().map(|item| item.principal.as_ref().map(Holder::as_str)).collect();
        let is_believed: Vec<bool> =
            reports().map(|report| report.is_some_and(|report| report.is_believed)).collect();
        let was_seen: Vec<bool> = items.iter().map(|item| item.principal.is_some()).collect();
        let asked_at: Vec<_> = items.iter().map(|item| item.asked_at).collect();
        let rows = self
            .rows(
                RELEASE,
                &[
                    /* item */ &columns.item,
                    /* bucket */ &columns.bucket,
                    /* user_id */ &columns.user,
                    /* device_id */ &columns.device,
                    /* key_package_ref */ &columns.reference,
                    /* reservation_id */ &columns.reservation,
                    /* holder */ &columns.holder,
                    /* unusable_reason */ &unusable_reason,
                    /* now */ &now,
                    /* asked_at */ &asked_at,
                    /* principal */ &principal,
                    /* is_believed */ &is_believed,
                    /* was_seen */ &was_seen,
                ],
            )
            .await?;
        rows.iter().map(|row| index(row, "item")).collect()
    }

    /// Prolongs holds, each to the time beside it, but for no longer than `max_total` in all, and returns the items that it did with the ends of their holds.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe.
    pub async fn extend(
        &mut self,
        items: &[(HeldItem, Timestamp)],
        now: Timestamp,
        revoked_after: Timestamp,
        max_total: SignedDuration,
    ) -> Result<Extended, StoreError> {
        let columns = Columns::of(items.iter().map(|(held, _)| held));
        let held_until: Vec<_> = items.iter().map(|(_, held_until)| *held_until).collect();
        let rows = self
            .rows(
                EXTEND,
                &[
                    /* item */ &columns.item,
                    /* bucket */ &columns.bucket,
                    /* user_id */ &columns.user,
                    /* device_id */ &columns.device,
                    /* key_package_ref */ &columns.reference,
                    /* reservation_id */ &columns.reservation,
                    /* holder */ &columns.holder,
                    /* held_until */ &held_until,
                    /* now */ &now,
                    /* revoked_after */ &revoked_after,
                    /* max_total */ &max_total.as_secs_f64(),
                ],
            )
            .await?;
        rows.iter().map(|row| Ok((index(row, "item")?, get(row, "held_until")?))).collect()
    }
}

impl Store {
    /// The bytes of packages, with the items' numbers, of those that still have them.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn reported(&self, items: &[&HeldItem]) -> Result<Vec<(usize, Vec<u8>)>, StoreError> {
        let columns = Columns::of(items.iter().copied());
        let rows = self
            .rows(
                REPORTED,
                &[
                    /* item */ &columns.item,
                    /* bucket */ &columns.bucket,
                    /* user_id */ &columns.user,
                    /* device_id */ &columns.device,
                    /* key_package_ref */ &columns.reference,
                    /* reservation_id */ &columns.reservation,
                    /* holder */ &columns.holder,
                ],
            )
            .await?;
        rows.iter().map(|row| Ok((index(row, "item")?, get(row, "key_package")?))).collect()
    }

    /// Says where each package is, in the items' order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn trace(
        &self,
        items: &[HeldItem],
        now: Timestamp,
        max_total: SignedDuration,
    ) -> Result<Vec<Trace>, StoreError> {
        let columns = Columns::of(items.iter());
        let rows = self
            .rows(
                TRACE,
                &[
                    /* item */ &columns.item,
                    /* bucket */ &columns.bucket,
                    /* user_id */ &columns.user,
                    /* device_id */ &columns.device,
                    /* key_package_ref */ &columns.reference,
                    /* reservation_id */ &columns.reservation,
                    /* now */ &now,
                    /* holder */ &columns.holder,
                    /* max_total */ &max_total.as_secs_f64(),
                ],
            )
            .await?;
        let mut traces = rows
            .iter()
            .map(|row| Ok((index(row, "item")?, trace(row)?)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        traces.sort_by_key(|(item, _)| *item);
        Ok(traces.into_iter().map(|(_, trace)| trace).collect())
    }
}

fn trace(row: &Row) -> Result<Trace, StoreError> {
    let set = |column: &str| get::<bool>(row, column);
    let known = set("known")?
        .then(|| Ok::<_, StoreError>((get(row, "not_after")?, set("last_resort")?)))
        .transpose()?;
    let in_pool = set("in_pool")?.then(|| hold(row, "hold")).transpose()?;
    let revoked = set("revoked")?.then(|| hold(row, "revoked")).transpose()?;
    let logged = set("logged")?
        .then(|| {
            Ok::<_, StoreError>(LogRef {
                group: id(GroupId::new(get::<&[u8]>(row, "logged_group_id")?))?,
                holder: id(Holder::new(get::<&str>(row, "logged_holder")?))?,
                spent: set("logged_spent")?,
                released: set("logged_released")?,
                lapsed: set("logged_lapsed")?,
                last_resort: set("logged_last_resort")?,
            })
        })
        .transpose()?;
    Ok(Trace {
        known,
        in_pool,
        hold_lost: set("hold_lost")?,
        hold_over: set("hold_over")?,
        was_held: set("was_held")?,
        revoked,
        revoked_at: get(row, "revoked_at")?,
        logged,
    })
}

fn hold(row: &Row, table: &str) -> Result<Option<HoldRef>, StoreError> {
    let column = |name: &str| format!("{table}_{name}");
    let Some(reservation) = get::<Option<&str>>(row, column("reservation_id").as_str())? else {
        return Ok(None);
    };
    Ok(Some(HoldRef {
        reservation: id(ReservationId::new(reservation))?,
        group: id(GroupId::new(get::<&[u8]>(row, column("group_id").as_str())?))?,
        holder: id(Holder::new(get::<&str>(row, column("holder").as_str())?))?,
    }))
}
