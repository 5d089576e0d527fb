//! Packages and answers of the SDK, as histories remember them.

use super::classify::{failed, reason};
use crate::history::{Action, Answer, Device, Handed, Hold, Micros, Outcome, Package, Reserve};
use keypool_client::{Error, ReservedPackage, proto::v1::KeyPackageName};
use std::time::SystemTime;

/// A call about held packages.
pub(super) fn hold(reserve: &Reserve, action: Action, names: &[KeyPackageName]) -> Hold {
    let packages = names.iter().filter_map(package).collect();
    Hold { action, reservation: reserve.reservation, packages }
}

/// A package, and whose it is.
pub(super) fn package(name: &KeyPackageName) -> Option<(Device, Package)> {
    let device = Device::of(&name.user_id, &name.device_id)?;
    Some((device, Package::of_ref(&name.key_package_ref)?))
}

/// What came of a call about held packages.
pub(super) fn held(result: Result<(), Error>, names: &[KeyPackageName]) -> (Outcome, ()) {
    let outcome = match result {
        Ok(()) => Outcome::Ok(Answer::Held(vec![None; names.len()], None)),
        Err(error) => failed(&error, |error| {
            let outcome = |name: &KeyPackageName| {
                let mut outcomes = error.outcomes().iter();
                match outcomes.find(|outcome| outcome.name == *name) {
                    Some(outcome) => outcome.reason.map(reason),
                    None => Some("refused with the whole call".to_owned()),
                }
            };
            Answer::Held(names.iter().map(outcome).collect(), None)
        }),
    };
    (outcome, ())
}

/// What came of a call to extend holds.
pub(super) fn extended(
    result: Result<Option<SystemTime>, Error>,
    names: &[KeyPackageName],
) -> (Outcome, ()) {
    match result {
        Ok(until) => {
            let done = vec![None; names.len()];
            (Outcome::Ok(Answer::Held(done, until.map(Into::into))), ())
        }
        Err(error) => held(Err(error), names),
    }
}

/// A package that a reservation has.
pub(super) fn handed(package: &ReservedPackage) -> Option<Handed> {
    let (device, reference) = self::package(&package.name)?;
    Some(Handed {
        device,
        package: reference,
        suite: package.cipher_suite,
        not_after: package.not_after.into(),
        until: package.hold_expires.map(Micros::from),
        last_resort: package.last_resort,
        spent: package.spent,
        // Bytes of a spent package may be gone, as after a revocation.
        authentic: Package::of(&package.bytes) == reference
            || package.spent && package.bytes.is_empty(),
    })
}
