//! Packages that only their names tell apart: what makes one valid is not what is simulated.

use std::sync::LazyLock;

use jiff::{Timestamp, ToSpan};
use keypool_service::testing::model::{Facts, Owner};
use keypool_service::types::{CipherSuite, KeyPackageRef};

/// When every run begins.
pub(crate) const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

pub(crate) const SUITE: u16 = 1;

const ONE_TIME: usize = 60;

static STOCK: LazyLock<Vec<Facts>> = LazyLock::new(|| {
    let packages = |(nth, owner): (usize, Owner)| {
        (0..=ONE_TIME)
            .map(move |number| facts(owner.clone(), nth * (ONE_TIME + 1) + number, number))
    };
    owners().into_iter().enumerate().flat_map(packages).collect()
});

/// The devices, each of which uploads.
pub(crate) fn owners() -> Vec<Owner> {
    ["bob/phone", "bob/laptop", "carol/phone"]
        .map(|name| name.split_once('/').unwrap())
        .map(|(user, device)| Owner::new(user, device))
        .to_vec()
}

/// The first is the last resort.
fn facts(owner: Owner, serial: usize, number: usize) -> Facts {
    let mut reference = [0; 32];
    reference[..8].copy_from_slice(&serial.to_be_bytes());
    Facts {
        owner,
        reference: KeyPackageRef::new(reference).unwrap(),
        suite: CipherSuite(SUITE),
        last_resort: number == 0,
        not_after: START + 240.hours().seconds(i64::try_from(number).unwrap()),
        credential: Vec::new(),
        signature_key: Vec::new(),
        bytes: format!("key package {serial} {}", "x".repeat(200)).into_bytes(),
    }
}

/// What a device can upload: its last resort, then the others.
pub(crate) fn of(owner: &Owner) -> Vec<&'static Facts> {
    STOCK.iter().filter(|one| one.owner == *owner).collect()
}

/// The package that these bytes are.
pub(crate) fn named(bytes: &[u8]) -> Option<&'static Facts> {
    STOCK.iter().find(|one| one.bytes == bytes)
}

/// The package with this ref.
pub(crate) fn with_ref(reference: &KeyPackageRef) -> &'static Facts {
    STOCK.iter().find(|one| one.reference == *reference).unwrap()
}

/// All of them.
pub(crate) fn all() -> &'static [Facts] {
    &STOCK
}
