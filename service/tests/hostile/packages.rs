//! Real packages, changed. What is accepted must be what was signed.
//!
//! One change keeps a signature good, and no change at random finds it: of an ECDSA signature (r, s), (r, -s) is another.
//! That package has another ref, and the pool refuses it for its init key.

use super::{
    holds,
    mutate::{mutated, mutation},
};
use jiff::Timestamp;
use keypool_service::{
    clock::{Clock, SystemClock},
    pool::validation::{Rejection, ValidKeyPackage, ValidationPolicy, validate},
    testing::{hostile::odd, packages::PackageMaker},
    types::{CipherSuite, DeviceId, UserId},
};
use proptest::{collection::vec, prelude::*, test_runner::TestCaseResult};

fn alice() -> PackageMaker {
    PackageMaker::new("alice", "phone")
}

fn check(bytes: &[u8], now: Timestamp) -> Result<ValidKeyPackage, Rejection> {
    let (user, device) = (UserId::new("alice").unwrap(), DeviceId::new("phone").unwrap());
    validate(bytes, &user, &device, &ValidationPolicy::default(), now)
}

/// Packages of each cipher suite, and some with more in their lists.
fn originals() -> Vec<Vec<u8>> {
    let of_suite = |suite| alice().last_resort().cipher_suite(CipherSuite(suite)).make();
    let odd = odd("alice", "phone").into_iter().map(|(_, package)| package);
    [1, 2, 3].map(of_suite).into_iter().chain(odd.filter(|package| package.len() < 1000)).collect()
}

/// Whether bytes are rejected without a panic, or one of the originals.
fn judge(bytes: &[u8], originals: &[Vec<u8>]) -> TestCaseResult {
    let now = SystemClock.now();
    match check(bytes, now) {
        Ok(package) => {
            let original = originals.iter().any(|original| original == bytes);
            prop_assert!(original, "accepted: {}", bytes.escape_ascii());
            prop_assert_eq!(&package.bytes, bytes);
            prop_assert_eq!(check(&package.bytes, now), Ok(package));
        }
        Err(rejection) => {
            let panicked = rejection.message.contains("could not be checked");
            prop_assert!(!panicked, "a panic: {}", bytes.escape_ascii());
        }
    }
    Ok(())
}

#[test]
fn a_changed_package_is_never_accepted() {
    let originals = originals();
    let which = 0..originals.len();
    holds(&(which.clone(), which, vec(mutation(), 0..4)), |(one, other, mutations)| {
        judge(&mutated(&originals[one], &mutations, &originals[other]), &originals)
    });
}

#[test]
fn random_bytes_are_never_accepted() {
    let package = alice().make();
    holds(&(any::<bool>(), vec(any::<u8>(), 0..1024)), |(headed, bytes)| {
        let header: &[u8] = if headed { &package[..4] } else { b"" };
        judge(&[header, &bytes].concat(), &[])
    });
}
