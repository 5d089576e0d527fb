//! Every rule, broken: by OpenMLS where it lets us, and by forged packages where it doesn't.

mod accepted;
mod hostile;
mod rejected;
mod table;

use super::{Rejection, RejectionReason, ValidKeyPackage, ValidationPolicy, validate};
use crate::{
    clock::{Clock, SystemClock},
    testing::packages::PackageMaker,
    types::{DeviceId, UserId},
};
use jiff::{SignedDuration, Timestamp};

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn alice() -> PackageMaker {
    PackageMaker::new("alice", "phone")
}

/// The time in whole seconds, as in a lifetime.
fn now() -> Timestamp {
    Timestamp::from_second(SystemClock.now().as_second()).unwrap()
}

fn check_at(bytes: &[u8], now: Timestamp) -> Result<ValidKeyPackage, Rejection> {
    let (user, device) = (UserId::new("alice").unwrap(), DeviceId::new("phone").unwrap());
    // The largest that can be configured: the tables have packages of that size.
    let policy = ValidationPolicy { max_bytes: 64 * 1024, ..ValidationPolicy::default() };
    validate(bytes, &user, &device, &policy, now)
}

fn check(bytes: &[u8]) -> Result<ValidKeyPackage, Rejection> {
    check_at(bytes, now())
}

fn reason(bytes: &[u8]) -> RejectionReason {
    check(bytes).unwrap_err().reason
}
