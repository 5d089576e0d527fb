//! What a reserve is made of: take a package, look up what the reservation has, renew it, hand out the last resort, and
//! say why there is nothing.

use super::{DeviceKey, Session, StoreError, get, id, index, numbers};
use crate::types::{
    Bucket, CipherSuite, DeviceId, GroupId, Holder, KeyPackageRef, ReservationId, UserId,
};
use jiff::Timestamp;
use std::{collections::HashMap, sync::LazyLock};
use tokio_postgres::Row;

const DEVICES_OF: &str = include_str!("sql/devices_of.sql");
const LIVE_HOLDS: &str = include_str!("sql/live_holds.sql");
const TAKE: &str = include_str!("sql/take.sql");
const OWN: &str = include_str!("sql/own.sql");
const RENEW: &str = include_str!("sql/renew.sql");
const LAST_RESORT: &str = include_str!("sql/last_resort.sql");
const EXPLAIN_MISSING: &str = include_str!("sql/explain_missing.sql");

/// The same statement, but it waits for packages whose lock another transaction holds instead of passing over them.
static TAKE_WAITING: LazyLock<String> = LazyLock::new(|| TAKE.replace("SKIP LOCKED", ""));

/// What separates ids in one text: no id holds a control character.
const SEPARATOR: &str = "\n";

/// Which packages may be handed out.
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

/// One package of one device, wanted by a reservation.
#[derive(Debug, Clone)]
pub struct Want {
    /// Whose package.
    pub device: DeviceKey,
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
}

/// What becomes of packages that another transaction has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// They are passed over. Devices of which a reservation has something already are left alone.
    Skip,
    /// They are waited for, whatever the reservations have.
    Wait,
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
    /// When the reservation asked for it; none unless it is held for this reservation alone.
    pub asked_at: Option<Timestamp>,
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

/// What a reservation has of a device from an earlier call.
#[derive(Debug, Clone)]
pub enum Own {
    /// A package, which may be held, lapsed or spent.
    Package(ReservedRow),
    /// A package of a cipher suite that is not acceptable now.
    OtherSuite,
    /// The reservation was made for another group.
    OtherGroup,
    /// The reservation is another holder's.
    OtherHolder,
}

/// What there is of a device for which nothing was reserved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

/// The devices of wants, one element for each; the wants of one device follow each other.
#[derive(Default)]
struct Devices<'a> {
    bucket: Vec<i16>,
    user: Vec<&'a str>,
    device: Vec<&'a str>,
    wanted: Vec<i32>,
    reservations: Vec<String>,
    /// For each want: its device's number, and its own among the device's, both from 1.
    of_want: Vec<(i32, i32)>,
}

impl<'a> Devices<'a> {
    fn of(wants: &'a [&Want]) -> Self {
        let mut devices = Self::default();
        for wants in wants.chunk_by(|one, next| one.device == next.device) {
            let DeviceKey { bucket, user, device } = &wants[0].device;
            let mut reservations: Vec<&str> =
                wants.iter().map(|want| want.reservation.as_str()).collect();
            reservations.sort_unstable();
            devices.bucket.push(bucket.number());
            devices.user.push(user.as_str());
            devices.device.push(device.as_str());
            devices.reservations.push(reservations.join(SEPARATOR));
            let number = devices.bucket.len();
            devices.of_want.extend((1..=wants.len()).map(|nth| (count(number), count(nth))));
            devices.wanted.push(count(wants.len()));
        }
        devices
    }
}

/// A number of rows: far below the limit of its type.
fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn text<'a>(wants: &'a [&Want], of: fn(&'a Want) -> &'a str) -> Vec<&'a str> {
    wants.iter().map(|want| of(want)).collect()
}

fn buckets(wants: &[&Want]) -> Vec<i16> {
    wants.iter().map(|want| want.device.bucket.number()).collect()
}

fn groups<'a>(wants: &'a [&Want]) -> Vec<&'a [u8]> {
    wants.iter().map(|want| want.group.as_bytes()).collect()
}

fn ends(wants: &[&Want]) -> Vec<Timestamp> {
    wants.iter().map(|want| want.held_until).collect()
}

impl Session {
    /// The devices of each user, in the users' order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn devices_of(
        &mut self,
        users: &[&UserId],
    ) -> Result<Vec<Vec<DeviceId>>, StoreError> {
        let bucket: Vec<i16> = users.iter().map(|user| Bucket::of(user).number()).collect();
        let user: Vec<_> = users.iter().map(|user| user.as_str()).collect();
        let mut devices = vec![Vec::new(); users.len()];
        for row in self.rows(DEVICES_OF, &[&bucket, &user]).await? {
            let device = id(DeviceId::new(get::<&str>(&row, "device_id")?))?;
            devices[index(&row, "item")?].push(device);
        }
        Ok(devices)
    }

    /// How many live holds each holder has on one-time packages of each device, by the device's place.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn live_holds(
        &mut self,
        devices: &[&DeviceKey],
        now: Timestamp,
    ) -> Result<HashMap<(usize, Holder), u64>, StoreError> {
        let bucket: Vec<_> = devices.iter().map(|device| device.bucket.number()).collect();
        let user: Vec<_> = devices.iter().map(|device| device.user.as_str()).collect();
        let device: Vec<_> = devices.iter().map(|device| device.device.as_str()).collect();
        let rows = self
            .rows(
                LIVE_HOLDS,
                &[
                    /* bucket */ &bucket, /* user_id */ &user,
                    /* device_id */ &device, /* now */ &now,
                ],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let holder = id(Holder::new(get::<&str>(row, "holder")?))?;
                Ok(((index(row, "item")?, holder), super::count(row, "holds")?))
            })
            .collect()
    }

    /// Takes a package for each want that there is one for, and returns those by the wants' places. The wants of one
    /// device must follow each other, and the devices be in order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn take(
        &mut self,
        filter: &ReserveFilter,
        wants: &[&Want],
        locked: Locked,
    ) -> Result<Vec<(usize, ReservedRow)>, StoreError> {
        let devices = Devices::of(wants);
        let (device, nth): (Vec<i32>, Vec<i32>) = devices.of_want.iter().copied().unzip();
        let rows = self
            .rows(
                match locked {
                    Locked::Skip => TAKE,
                    Locked::Wait => &TAKE_WAITING,
                },
                &[
                    /* bucket */ &devices.bucket,
                    /* user_id */ &devices.user,
                    /* device_id */ &devices.device,
                    /* reservation_ids */ &devices.reservations,
                    /* wanted */ &devices.wanted,
                    /* new ones only */ &(locked == Locked::Skip),
                    /* now */ &filter.now,
                    /* min_not_after */ &filter.min_not_after,
                    /* cipher_suites */ &filter.suites(),
                    /* device */ &device,
                    /* nth */ &nth,
                    /* reservation_id */ &text(wants, |want| want.reservation.as_str()),
                    /* group_id */ &groups(wants),
                    /* holder */ &text(wants, |want| want.holder.as_str()),
                    /* held_until */ &ends(wants),
                ],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let asked_at = Some(get(row, "asked_at")?);
                Ok((index(row, "item")?, ReservedRow { asked_at, ..reserved(row)? }))
            })
            .collect()
    }

    /// What the reservations have from earlier calls, by the wants' places.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn own(
        &mut self,
        filter: &ReserveFilter,
        wants: &[&Want],
    ) -> Result<Vec<(usize, Own)>, StoreError> {
        let rows = self
            .rows(
                OWN,
                &[
                    /* bucket */ &buckets(wants),
                    /* user_id */ &text(wants, |want| want.device.user.as_str()),
                    /* device_id */ &text(wants, |want| want.device.device.as_str()),
                    /* reservation_id */ &text(wants, |want| want.reservation.as_str()),
                    /* group_id */ &groups(wants),
                    /* holder */ &text(wants, |want| want.holder.as_str()),
                    /* now */ &filter.now,
                    /* cipher_suites */ &filter.suites(),
                ],
            )
            .await?;
        rows.iter().map(|row| Ok((index(row, "item")?, own(row)?))).collect()
    }

    /// Notes that the wants' reservations ask again for one-time packages that they hold, and begins lapsed holds anew.
    /// Returns when the holds end and when they were asked for, by the wants' places, of those that are still theirs.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn renew(
        &mut self,
        wants: &[(&Want, &KeyPackageRef)],
        now: Timestamp,
    ) -> Result<Vec<(usize, Timestamp, Timestamp)>, StoreError> {
        let reference: Vec<_> = wants.iter().map(|(_, reference)| reference.as_bytes()).collect();
        let wants: Vec<&Want> = wants.iter().map(|(want, _)| *want).collect();
        let rows = self
            .rows(
                RENEW,
                &[
                    /* bucket */ &buckets(&wants),
                    /* key_package_ref */ &reference,
                    /* reservation_id */ &text(&wants, |want| want.reservation.as_str()),
                    /* group_id */ &groups(&wants),
                    /* holder */ &text(&wants, |want| want.holder.as_str()),
                    /* held_until */ &ends(&wants),
                    /* now */ &now,
                ],
            )
            .await?;
        rows.iter()
            .map(|row| Ok((index(row, "item")?, get(row, "held_until")?, get(row, "asked_at")?)))
            .collect()
    }

    /// Hands out last-resort packages, and returns them by the wants' places.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe.
    pub async fn last_resort(
        &mut self,
        filter: &ReserveFilter,
        wants: &[&Want],
    ) -> Result<Vec<(usize, ReservedRow)>, StoreError> {
        let rows = self
            .rows(
                LAST_RESORT,
                &[
                    /* bucket */ &buckets(wants),
                    /* user_id */ &text(wants, |want| want.device.user.as_str()),
                    /* device_id */ &text(wants, |want| want.device.device.as_str()),
                    /* reservation_id */ &text(wants, |want| want.reservation.as_str()),
                    /* group_id */ &groups(wants),
                    /* holder */ &text(wants, |want| want.holder.as_str()),
                    /* principal */ &text(wants, |want| want.principal.as_str()),
                    /* held_until */ &ends(wants),
                    /* now */ &filter.now,
                    /* min_not_after */ &filter.min_not_after,
                    /* cipher_suites */ &filter.suites(),
                ],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok((index(row, "item")?, ReservedRow { last_resort: true, ..reserved(row)? }))
            })
            .collect()
    }

    /// Says what there is of devices for which nothing was reserved, in their order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn explain_missing(
        &mut self,
        filter: &ReserveFilter,
        wants: &[&Want],
    ) -> Result<Vec<Missing>, StoreError> {
        let rows = self
            .rows(
                EXPLAIN_MISSING,
                &[
                    /* item */ &numbers(wants.len()),
                    /* bucket */ &buckets(wants),
                    /* user_id */ &text(wants, |want| want.device.user.as_str()),
                    /* device_id */ &text(wants, |want| want.device.device.as_str()),
                    /* now */ &filter.now,
                    /* min_not_after */ &filter.min_not_after,
                    /* cipher_suites */ &filter.suites(),
                ],
            )
            .await?;
        let mut found = vec![Missing::default(); wants.len()];
        for row in &rows {
            found[index(row, "item")?] = missing(row)?;
        }
        Ok(found)
    }
}

/// A package as every statement returns it, neither spent nor a last resort.
fn reserved(row: &Row) -> Result<ReservedRow, StoreError> {
    Ok(ReservedRow {
        reference: id(KeyPackageRef::new(get::<&[u8]>(row, "key_package_ref")?))?,
        key_package: get(row, "key_package")?,
        cipher_suite: cipher_suite(row)?,
        not_after: get(row, "not_after")?,
        held_until: get(row, "held_until")?,
        asked_at: None,
        last_resort: false,
        spent: false,
    })
}

fn own(row: &Row) -> Result<Own, StoreError> {
    let is = |column: &str| get::<bool>(row, column);
    Ok(if !is("same_holder")? {
        Own::OtherHolder
    } else if !is("same_group")? {
        Own::OtherGroup
    } else if !is("same_suite")? {
        Own::OtherSuite
    } else {
        Own::Package(ReservedRow {
            last_resort: is("last_resort")?,
            spent: is("spent")?,
            ..reserved(row)?
        })
    })
}

fn missing(row: &Row) -> Result<Missing, StoreError> {
    Ok(Missing {
        user_known: get(row, "user_known")?,
        device_known: get(row, "device_known")?,
        takable: get(row, "takable")?,
        suite_known: get(row, "suite_known")?,
        expires_too_soon: get(row, "expires_too_soon")?,
    })
}

pub(super) fn cipher_suite(row: &Row) -> Result<CipherSuite, StoreError> {
    let number: i32 = get(row, "cipher_suite")?;
    u16::try_from(number).map(CipherSuite).map_err(StoreError::internal)
}
