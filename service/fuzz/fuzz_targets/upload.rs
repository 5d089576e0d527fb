//! Bytes, uploaded as a package of alice's phone.
//!
//! libFuzzer ends the process at every panic, those included that the validation would contain.

#![no_main]

use jiff::SignedDuration;
use keypool_service::{
    clock::{Clock, SystemClock},
    pool::validation::{ValidationPolicy, validate},
    types::{DeviceId, UserId},
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static ALICE: LazyLock<UserId> = LazyLock::new(|| UserId::new("alice").expect("an id"));
static PHONE: LazyLock<DeviceId> = LazyLock::new(|| DeviceId::new("phone").expect("an id"));

/// The seeds live long, so that they stay good.
static POLICY: LazyLock<ValidationPolicy> = LazyLock::new(|| ValidationPolicy {
    max_bytes: 64 * 1024,
    max_lifetime: SignedDuration::from_hours(200 * 365 * 24),
    ..ValidationPolicy::default()
});

fuzz_target!(|bytes: &[u8]| {
    let now = SystemClock.now();
    let Ok(package) = validate(bytes, &ALICE, &PHONE, &POLICY, now) else { return };
    assert_eq!(package.bytes, bytes);
    assert_eq!(validate(bytes, &ALICE, &PHONE, &POLICY, now), Ok(package));
});
