//! What a reserve is made of: take a package, look up what the reservation has, renew it, hand out the last resort, and
//! say why there is nothing.

mod devices;
mod found;
mod want;

pub use found::{LiveHolds, Missing, Own, ReservedRow};
pub use want::{KnownDevices, ReserveFilter, Want};

pub(super) use found::cipher_suite;

use super::{DeviceKey, Session, StoreError, count, get, id, index, numbers};
use crate::types::{Bucket, DeviceId, Holder, KeyPackageRef, UserId};
use devices::Devices;
use found::{found, own, reserved};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use tokio_postgres::Row;
use want::{buckets, ends, groups, returns, text};

const DEVICES_OF: &str = include_str!("../sql/devices_of.sql");
const LIVE_HOLDS: &str = include_str!("../sql/live_holds.sql");
const TAKE: &str = include_str!("../sql/take.sql");
const TAKE_RETURNED: &str = include_str!("../sql/take_returned.sql");
const OWN: &str = include_str!("../sql/own.sql");
const RENEW: &str = include_str!("../sql/renew.sql");
const LAST_RESORT: &str = include_str!("../sql/last_resort.sql");
const EXPLAIN_MISSING: &str = include_str!("../sql/explain_missing.sql");

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

    /// The live holds that each holder has on one-time packages of each device, by the device's place.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn live_holds(
        &mut self,
        devices: &[&DeviceKey],
        now: Timestamp,
    ) -> Result<HashMap<(usize, Holder), LiveHolds>, StoreError> {
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
                let holds =
                    LiveHolds { count: count(row, "holds")?, first_end: get(row, "first_end")? };
                Ok(((index(row, "item")?, holder), holds))
            })
            .collect()
    }

    /// Takes a package for each want that there is one for, and returns those by the wants' places: first those that nobody has seen,
    /// then those that anybody may be handed again. Packages that another transaction has locked are passed over. The wants of one
    /// device must follow each other, and the devices be in order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn take(
        &mut self,
        filter: &ReserveFilter,
        wants: &[&Want],
        known: KnownDevices,
    ) -> Result<Vec<(usize, ReservedRow)>, StoreError> {
        let devices = Devices::of(wants);
        let (device, nth): (Vec<i32>, Vec<i32>) = devices.of_want.iter().copied().unzip();
        let rows = self
            .rows(
                TAKE,
                &[
                    /* bucket */ &devices.bucket,
                    /* user_id */ &devices.user,
                    /* device_id */ &devices.device,
                    /* reservation_ids */ &devices.reservations,
                    /* wanted */ &devices.wanted,
                    /* leave known ones alone */ &(known == KnownDevices::LeaveAlone),
                    /* now */ &filter.now,
                    /* min_not_after */ &filter.min_not_after,
                    /* cipher_suites */ &filter.suites(),
                    /* device */ &device,
                    /* nth */ &nth,
                    /* reservation_id */ &text(wants, |want| want.reservation.as_str()),
                    /* group_id */ &groups(wants),
                    /* holder */ &text(wants, |want| want.holder.as_str()),
                    /* held_until */ &ends(wants),
                    /* returns */ &returns(wants),
                    /* holds */ &devices.holds,
                ],
            )
            .await?;
        rows.iter().map(taken).collect()
    }

    /// Takes packages that the wants' holders have seen before, and returns them by the wants' places. Packages that another
    /// transaction has locked are passed over.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn take_returned(
        &mut self,
        filter: &ReserveFilter,
        wants: &[&Want],
    ) -> Result<Vec<(usize, ReservedRow)>, StoreError> {
        let rows = self
            .rows(
                TAKE_RETURNED,
                &[
                    /* bucket */ &buckets(wants),
                    /* user_id */ &text(wants, |want| want.device.user.as_str()),
                    /* device_id */ &text(wants, |want| want.device.device.as_str()),
                    /* reservation_id */ &text(wants, |want| want.reservation.as_str()),
                    /* group_id */ &groups(wants),
                    /* holder */ &text(wants, |want| want.holder.as_str()),
                    /* held_until */ &ends(wants),
                    /* returns */ &returns(wants),
                    /* now */ &filter.now,
                    /* min_not_after */ &filter.min_not_after,
                    /* cipher_suites */ &filter.suites(),
                ],
            )
            .await?;
        rows.iter().map(taken).collect()
    }

    /// What the reservations have from earlier calls, by the wants' places. What has lapsed and was held for `max_total` is not
    /// theirs any more, nor can they be handed it again.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn own(
        &mut self,
        filter: &ReserveFilter,
        wants: &[&Want],
        max_total: SignedDuration,
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
                    /* max_total */ &max_total.as_secs_f64(),
                ],
            )
            .await?;
        rows.iter().map(|row| Ok((index(row, "item")?, own(row)?))).collect()
    }

    /// Notes that the wants' reservations ask again for one-time packages that they hold, and begins lapsed holds anew.
    /// Returns when the holds end and when they were asked for, by the wants' places, of those that are still theirs and
    /// that no other transaction has locked.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn renew(
        &mut self,
        wants: &[(&Want, &KeyPackageRef)],
        now: Timestamp,
        max_total: SignedDuration,
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
                    /* max_total */ &max_total.as_secs_f64(),
                    /* returns */ &returns(&wants),
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

    /// Says for each want what there is of its device, of which nothing was reserved. The wants of one device must follow each
    /// other.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn explain_missing(
        &mut self,
        filter: &ReserveFilter,
        wants: &[&Want],
    ) -> Result<Vec<Missing>, StoreError> {
        let devices = Devices::of(wants);
        let rows = self
            .rows(
                EXPLAIN_MISSING,
                &[
                    /* item */ &numbers(devices.bucket.len()),
                    /* bucket */ &devices.bucket,
                    /* user_id */ &devices.user,
                    /* device_id */ &devices.device,
                    /* now */ &filter.now,
                    /* min_not_after */ &filter.min_not_after,
                    /* cipher_suites */ &filter.suites(),
                    /* holds */ &devices.holds,
                ],
            )
            .await?;
        let mut by_device = HashMap::with_capacity(rows.len());
        for row in &rows {
            by_device.insert(index(row, "item")?, found(row)?);
        }
        let of_want = devices.of_want.iter().zip(wants).map(|((device, _), want)| {
            let Some(found) = by_device.get(&(*device as usize - 1)) else {
                return Missing::default();
            };
            let seen = found.missing.seen || found.seen_by.contains(&want.holder);
            Missing { seen, ..found.missing.clone() }
        });
        Ok(of_want.collect())
    }
}

fn taken(row: &Row) -> Result<(usize, ReservedRow), StoreError> {
    let asked_at = Some(get(row, "asked_at")?);
    Ok((index(row, "item")?, ReservedRow { asked_at, ..reserved(row)? }))
}
