//! Real packages, made once and used by every case: making them is what takes the longest.

use jiff::{Timestamp, ToSpan};
use keypool_service::{
    clock::{Clock, SystemClock},
    pool::validation::{ValidationPolicy, validate},
    testing::{
        model::{Facts, Owner},
        packages::PackageMaker,
    },
    types::{CipherSuite, KeyPackageRef},
};
use std::sync::LazyLock;

pub(crate) static STOCK: LazyLock<Stock> = LazyLock::new(Stock::make);

pub(crate) const SUITES: [CipherSuite; 2] = [CipherSuite(1), CipherSuite(2)];

/// How long the packages live, in hours: long enough that the machine's clock, which OpenMLS goes by, never matters.
const ONE_TIME_HOURS: [i64; 14] = [3, 4, 6, 9, 20, 26, 40, 50, 60, 72, 100, 140, 180, 210];
const LAST_RESORT_HOURS: [i64; 3] = [5, 30, 150];

pub(crate) struct Stock {
    /// When every case begins.
    pub(crate) start: Timestamp,
    /// Those that upload.
    pub(crate) owners: Vec<Owner>,
    /// Those that never do: a device of a known user, and an unknown user.
    pub(crate) strangers: Vec<Owner>,
    packages: Vec<Facts>,
}

impl Stock {
    fn make() -> Self {
        let start = Timestamp::from_second(SystemClock.now().as_second()).unwrap();
        let owners = ["alice/phone", "alice/laptop", "bob/phone"]
            .map(|name| name.split_once('/').unwrap())
            .map(|(user, device)| Owner::new(user, device));
        let packages = owners.iter().flat_map(|owner| {
            SUITES.iter().flat_map(move |&suite| packages_of(owner, suite, start))
        });
        Self {
            start,
            packages: packages.collect(),
            owners: owners.to_vec(),
            strangers: vec![Owner::new("alice", "watch"), Owner::new("carol", "phone")],
        }
    }

    /// All packages.
    pub(crate) fn all(&self) -> &[Facts] {
        &self.packages
    }

    /// The one-time or the last-resort packages of a device.
    pub(crate) fn of(&self, owner: &Owner, last_resort: bool) -> Vec<&Facts> {
        let packages = self.packages.iter();
        packages.filter(|one| one.owner == *owner && one.last_resort == last_resort).collect()
    }

    pub(crate) fn facts(&self, reference: &KeyPackageRef) -> &Facts {
        self.packages.iter().find(|one| one.reference == *reference).unwrap()
    }
}

/// Packages of a device for one suite, signed with two keys by turns. No two end at the same time, so that which one is
/// handed out is never a matter of chance.
fn packages_of(owner: &Owner, suite: CipherSuite, start: Timestamp) -> Vec<Facts> {
    let mut packages = Vec::new();
    for key in 0..2 {
        let mut maker = PackageMaker::new(owner.user.as_str(), owner.device.as_str());
        maker = maker.cipher_suite(suite);
        let mut make = |mut maker: PackageMaker, lifetimes: &[i64]| {
            for hours in lifetimes.iter().skip(key).step_by(2) {
                let not_after = start + hours.hours().minutes(suite.0);
                maker = maker.lifetime(start - 1.hours(), not_after);
                packages.push(facts(owner, maker.make(), start));
            }
            maker
        };
        maker = make(maker, &ONE_TIME_HOURS);
        make(maker.last_resort(), &LAST_RESORT_HOURS);
    }
    packages
}

/// What validation finds out about a package.
fn facts(owner: &Owner, bytes: Vec<u8>, now: Timestamp) -> Facts {
    let policy = ValidationPolicy::default();
    let package = validate(&bytes, &owner.user, &owner.device, &policy, now).unwrap();
    Facts {
        owner: owner.clone(),
        reference: package.reference,
        suite: package.cipher_suite,
        last_resort: package.last_resort,
        not_after: package.not_after,
        credential: package.credential,
        signature_key: package.signature_key,
        bytes,
    }
}
