//! Requests into the domain's types. The fields that break their contract are reported, each with its path.

mod device;
mod fields;
mod inviter;
mod spend_log;

pub(super) use device::{reconcile, revoke, upload, user_and_device, user_and_optional_device};
pub(super) use fields::Fields;
pub(super) use inviter::{extend, release, reserve, spend};
pub(super) use spend_log::{page_token, spend_log};

use std::ops::RangeInclusive;

/// How many packages or targets one call may name.
const ITEMS: RangeInclusive<usize> = 1..=100;
