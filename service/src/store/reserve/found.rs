//! What the statements found, and how it is read from their rows.

use crate::{
    store::{StoreError, get, id},
    types::{CipherSuite, Holder, KeyPackageRef},
};
use jiff::Timestamp;
use std::collections::BTreeMap;
use tokio_postgres::Row;

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
    /// Whether the reservation had it before the call that asked.
    pub found: bool,
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

/// The live holds of a holder on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveHolds {
    /// How many there are.
    pub count: u64,
    /// When the first of them ends.
    pub first_end: Timestamp,
}

/// What a reservation has of a device from an earlier call.
#[derive(Debug, Clone)]
pub enum Own {
    /// A package that it has spent, or a last resort that it holds.
    Package(ReservedRow),
    /// A one-time package that it holds, or held until the hold lapsed, and since when.
    Held(ReservedRow, Timestamp),
    /// A package that it held for as long as it may: others may be handed it.
    HeldTooLong,
    /// A package that it holds and that is quarantined: nobody gets it.
    Quarantined,
    /// A package of a cipher suite that is not acceptable now.
    OtherSuite,
    /// The reservation was made for another group.
    OtherGroup,
}

/// What there is of a device for which nothing was reserved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// The user has a device.
    pub user_known: bool,
    /// The device has uploaded something.
    pub device_known: bool,
    /// Whether there are packages that nobody has seen, whether another transaction has locked them or not.
    pub unseen: bool,
    /// Whether there are others that the holder may be handed, which somebody has seen.
    pub seen: bool,
    /// How many packages of each cipher suite anybody may be handed, seen or not. No cipher suite has none.
    pub for_anyone: BTreeMap<CipherSuite, u32>,
    /// The device has uploaded packages of an acceptable cipher suite.
    pub suite_known: bool,
    /// There is an available package, but its lifetime ends too soon.
    pub expires_too_soon: bool,
}

/// A package as every statement returns it, neither spent nor a last resort.
pub(super) fn reserved(row: &Row) -> Result<ReservedRow, StoreError> {
    Ok(ReservedRow {
        reference: id(KeyPackageRef::new(get::<&[u8]>(row, "key_package_ref")?))?,
        key_package: get(row, "key_package")?,
        cipher_suite: cipher_suite(row)?,
        not_after: get(row, "not_after")?,
        held_until: get(row, "held_until")?,
        asked_at: None,
        found: false,
        last_resort: false,
        spent: false,
    })
}

pub(super) fn own(row: &Row) -> Result<Own, StoreError> {
    let is = |column: &str| get::<bool>(row, column);
    Ok(if !is("same_group")? {
        Own::OtherGroup
    } else if is("is_over")? {
        Own::HeldTooLong
    } else if !is("same_suite")? {
        Own::OtherSuite
    } else if is("quarantined")? {
        Own::Quarantined
    } else {
        let package = ReservedRow {
            last_resort: is("last_resort")?,
            spent: is("spent")?,
            found: true,
            ..reserved(row)?
        };
        match get(row, "taken_at")? {
            Some(taken_at) => Own::Held(package, taken_at),
            None => Own::Package(package),
        }
    })
}

/// What there is of a device.
pub(super) struct Found {
    pub(super) missing: Missing,
    /// Those for whom there is a package that only they get.
    pub(super) seen_by: Vec<Holder>,
}

pub(super) fn found(row: &Row) -> Result<Found, StoreError> {
    let seen_by = get::<Vec<&str>>(row, "seen_by")?;
    let seen_by: Result<_, StoreError> =
        seen_by.into_iter().map(|holder| id(Holder::new(holder))).collect();
    let mut for_anyone = BTreeMap::new();
    for number in get::<Vec<i32>>(row, "for_anyone")? {
        let suite = CipherSuite(u16::try_from(number).map_err(StoreError::internal)?);
        *for_anyone.entry(suite).or_default() += 1;
    }
    let missing = Missing {
        user_known: get(row, "user_known")?,
        device_known: get(row, "device_known")?,
        unseen: get(row, "unseen")?,
        seen: get(row, "seen")?,
        for_anyone,
        suite_known: get(row, "suite_known")?,
        expires_too_soon: get(row, "expires_too_soon")?,
    };
    Ok(Found { missing, seen_by: seen_by? })
}

pub(in crate::store) fn cipher_suite(row: &Row) -> Result<CipherSuite, StoreError> {
    let number: i32 = get(row, "cipher_suite")?;
    u16::try_from(number).map(CipherSuite).map_err(StoreError::internal)
}
