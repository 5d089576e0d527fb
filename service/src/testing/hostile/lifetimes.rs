//! Lifetimes that are over, have not begun, or are none (RFC 9420, sections 7.2 and 7.3).

use super::{Device, Hostile, rejected};
use crate::{
    clock::{Clock, SystemClock},
    pool::validation::{RejectionReason as Reason, wire},
    testing::forge::forge,
};

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
const YEAR: u64 = 365 * DAY;

pub(super) fn all(device: &Device<'_>) -> Vec<Hostile> {
    let now = u64::try_from(SystemClock.now().as_second()).unwrap_or_default();
    let start = now - 60 * MINUTE;
    let maker = device.maker();
    let cases = [
        ("not yet begun", Reason::NotYetValid, (now + 10 * MINUTE, now + DAY)),
        ("begins tomorrow", Reason::NotYetValid, (now + DAY, now + 2 * DAY)),
        ("over", Reason::Expired, (now - DAY, now - MINUTE)),
        ("ends now", Reason::Expired, (now - DAY, now)),
        ("ends soon", Reason::Expired, (now - DAY, now + 9 * MINUTE)),
        ("over since 1970", Reason::Expired, (0, 1)),
        ("from ever to ever", Reason::InvalidLifetime, (0, u64::MAX)),
        ("endless", Reason::InvalidLifetime, (start, u64::MAX)),
        ("endless as a signed number", Reason::InvalidLifetime, (start, i64::MAX.unsigned_abs())),
        ("of ten years", Reason::InvalidLifetime, (start, start + 10 * YEAR)),
        ("since 1970", Reason::InvalidLifetime, (0, now + DAY)),
        ("a second too long", Reason::InvalidLifetime, (start, start + 90 * DAY + 1)),
        ("of no time", Reason::InvalidLifetime, (start, start)),
        ("of no time at all", Reason::InvalidLifetime, (0, 0)),
        ("inverted by a second", Reason::InvalidLifetime, (start + 1, start)),
        ("inverted", Reason::InvalidLifetime, (now + DAY, now - DAY)),
        ("ends in 1970", Reason::InvalidLifetime, (start, 0)),
        ("begins at the end of time", Reason::InvalidLifetime, (u64::MAX, start)),
        ("the last second", Reason::InvalidLifetime, (u64::MAX - 1, u64::MAX)),
        ("the end of time", Reason::InvalidLifetime, (u64::MAX, u64::MAX)),
        ("ends that add up to nothing", Reason::InvalidLifetime, (1 << 63, 1 << 63)),
        ("ends that overflow", Reason::InvalidLifetime, (start, u64::MAX - start + 1)),
        ("a difference that overflows", Reason::InvalidLifetime, ((1 << 63) + 1, 0)),
        ("after the year 9999", Reason::InvalidLifetime, (now + 9000 * YEAR, now + 9001 * YEAR)),
    ];
    let case = |(name, reason, (not_before, not_after))| {
        let source = wire::LeafNodeSource::KeyPackage(wire::Lifetime { not_before, not_after });
        let bytes = forge(&maker, |package| package.leaf_node.source = source);
        rejected(format!("lifetime: {name}"), reason, bytes)
    };
    cases.into_iter().map(case).collect()
}
