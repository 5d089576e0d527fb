//! Whether the real pool did as the model.

use crate::{real::Real, stock::STOCK};
use keypool_service::{
    pool::{HoldFault, MissingTarget, PoolError, ReserveReport, ReservedPackage, UploadResult},
    store::{LogFilter, LogRow},
    testing::model::{Entry, Fate, Grant, Granted, Model, Owner, Reserved, Status, Uploaded},
};
use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};
use std::{collections::HashSet, fmt::Debug};

pub(crate) type Checked = Result<(), TestCaseError>;

/// How many entries a page of the log has.
const PAGE: u32 = 7;

pub(crate) fn uploaded(real: &[UploadResult], model: &[Uploaded]) -> Checked {
    let agree = |(real, model): (&UploadResult, &Uploaded)| match (real, model) {
        (UploadResult::Accepted(_), Uploaded::Accepted)
        | (UploadResult::AlreadyPresent(_), Uploaded::AlreadyPresent) => true,
        (UploadResult::Rejected(rejection), Uploaded::Rejected(reasons)) => {
            reasons.contains(&rejection.reason)
        }
        _ => false,
    };
    prop_assert_eq!(real.len(), model.len());
    prop_assert!(real.iter().zip(model).all(agree), "real: {real:?}\nmodel: {model:?}");
    Ok(())
}

pub(crate) fn reserved(real: &Result<ReserveReport, PoolError>, model: &Reserved) -> Checked {
    let agree = match (real, model) {
        (Ok(real), Reserved::Done { granted: packages, missing }) => {
            without_waits(&real.missing) == *missing
                && granted(&real.reservation.packages, packages)
        }
        (Err(PoolError::NothingReserved(real)), Reserved::Missing(model)) => {
            without_waits(real) == *model
        }
        (Err(PoolError::ReservationIdReused(_)), Reserved::Refused) => true,
        _ => false,
    };
    prop_assert!(agree, "real: {real:#?}\nmodel: {model:#?}");
    Ok(())
}

/// How long to wait is no matter of the model.
fn without_waits(missing: &[MissingTarget]) -> Vec<MissingTarget> {
    missing.iter().map(|target| MissingTarget { limited: None, ..target.clone() }).collect()
}

fn granted(real: &[ReservedPackage], model: &[Granted]) -> bool {
    let agree = |(real, model): (&ReservedPackage, &Granted)| {
        let package = &real.package;
        let facts = STOCK.facts(&package.reference);
        let emptied = package.key_package.is_empty();
        let grant =
            Grant { reference: package.reference.clone(), held_until: package.held_until, emptied };
        let named = real.user == facts.owner.user && real.device == facts.owner.device;
        named
            && facts.owner == model.owner
            && model.any_of.contains(&grant)
            && (emptied || package.key_package == facts.bytes)
            && package.cipher_suite == facts.suite
            && package.not_after == facts.not_after
            && package.last_resort == facts.last_resort
            && package.spent == package.held_until.is_none()
    };
    real.len() == model.len() && real.iter().zip(model).all(agree)
}

pub(crate) fn fates<T: Debug>(real: &Result<T, PoolError>, model: &[Fate]) -> Checked {
    let faults: Vec<Option<HoldFault>> = match real {
        Ok(_) => vec![None; model.len()],
        Err(PoolError::Packages(.., faults)) => faults.iter().map(|one| one.fault).collect(),
        Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
    };
    let agree = |(real, model): (&Option<HoldFault>, &Fate)| match real {
        None => model.is_empty(),
        Some(fault) => model.contains(fault),
    };
    prop_assert_eq!(faults.len(), model.len());
    prop_assert!(faults.iter().zip(model).all(agree), "real: {faults:?}\nmodel: {model:?}");
    Ok(())
}

/// Whether an error says that the user or device is unknown, as it is.
pub(crate) fn unknown(error: &PoolError, model: &Model, owner: &Owner) -> Checked {
    let right = match error {
        PoolError::UnknownUser(user) => *user == owner.user && !model.knows(user, None),
        PoolError::UnknownDevice(user, device) => {
            *user == owner.user && *device == owner.device && model.knows(user, None)
        }
        _ => false,
    };
    prop_assert!(right, "{error:?} of {owner:?}");
    Ok(())
}

/// Every count of every pool.
pub(crate) async fn pools(real: &mut Real, model: &Model) -> Checked {
    let mut users: Vec<_> = STOCK.owners.iter().map(|owner| &owner.user).collect();
    users.dedup();
    for user in users {
        let of_model = model.status(user, None);
        let of_real: Vec<Status> = match real.pool().status(user, None).await {
            Ok(devices) => devices.into_iter().map(Status::from).collect(),
            Err(PoolError::UnknownUser(_)) => Vec::new(),
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
        };
        prop_assert_eq!(&of_real, &of_model, "left: the real pools, right: the model's");
        prop_assert!(of_real.iter().all(Status::is_balanced), "{of_real:?}");
    }
    Ok(())
}

/// Every entry of the spend log, and that it has each one-time package once.
pub(crate) async fn log(real: &mut Real, model: &Model) -> Checked {
    let mut rows: Vec<LogRow> = Vec::new();
    loop {
        let after = rows.last().map(|row| &row.position);
        let page = real.pool().spend_log(&LogFilter::default(), after, PAGE).await;
        let page = page.map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        if page.is_empty() {
            break;
        }
        rows.extend(page);
    }
    let mut spent = HashSet::new();
    for row in rows.iter().filter(|row| !row.last_resort && row.spent_at.is_some()) {
        prop_assert!(spent.insert(&row.position.reference), "spent twice: {row:?}");
    }
    let times = rows.iter().map(|row| row.position.logged_at);
    prop_assert!(times.is_sorted_by(|one, next| one >= next), "not newest first: {rows:?}");

    let key =
        |entry: &Entry| (entry.reference.clone(), entry.reservation.clone(), entry.holder.clone());
    let mut of_real: Vec<Entry> = rows.into_iter().map(Entry::from).collect();
    let mut of_model: Vec<Entry> = model.log.iter().map(Entry::as_logged).collect();
    of_real.sort_by_key(key);
    of_model.sort_by_key(key);
    prop_assert_eq!(of_real, of_model, "left: the real log, right: the model's");
    Ok(())
}
