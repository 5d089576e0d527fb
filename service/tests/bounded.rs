//! What a package may cost: memory by its size, and two signatures.
//!
//! Of the work, signatures are most. There are two, whatever a package holds: everything before them reads the package
//! once, with sets for what must not repeat, and OpenMLS verifies the leaf's signature and then the package's, once each.

#![allow(clippy::unwrap_used)]

#[path = "hostile/mutate.rs"]
#[allow(dead_code, unreachable_pub)]
mod mutate;

use keypool_service::{
    clock::{Clock, SystemClock},
    pool::validation::{ValidationPolicy, validate},
    testing::{
        hostile::{hostile, odd},
        packages::PackageMaker,
    },
    types::{CipherSuite, DeviceId, UserId},
};
use mutate::{mutated, mutation};
use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that may be allocated for each byte of a package, all of them counted, freed or not.
const FACTOR: usize = 100;

/// What any package may cost beside that: keys, hashes and messages.
const FLOOR: usize = 32 * 1024;

/// The bytes that validating a package allocates.
fn allocated(package: &[u8]) -> usize {
    let (user, device) = (UserId::new("alice").unwrap(), DeviceId::new("phone").unwrap());
    let policy = ValidationPolicy { max_bytes: 64 * 1024, ..ValidationPolicy::default() };
    let now = SystemClock.now();
    let region = Region::new(ALLOCATOR);
    let _verdict = validate(package, &user, &device, &policy, now);
    region.change().bytes_allocated
}

/// The only test of this file: the allocator counts what all threads do.
#[test]
fn validation_takes_memory_by_the_size_of_a_package() {
    let maker = |suite| PackageMaker::new("alice", "phone").cipher_suite(CipherSuite(suite));
    let originals = [1, 2, 3].map(|suite| maker(suite).last_resort().make());
    // What is made once, whenever it is needed first.
    for package in &originals {
        allocated(package);
    }

    let mut named: Vec<(String, Vec<u8>)> = Vec::new();
    named.extend(hostile("alice", "phone").into_iter().map(|one| (one.name, one.bytes)));
    named.extend(odd("alice", "phone").into_iter().map(|(name, bytes)| (name.to_owned(), bytes)));
    named.extend(changed(&originals));
    for (name, bytes) in named {
        let cost = allocated(&bytes);
        let limit = FLOOR + FACTOR * bytes.len();
        assert!(cost <= limit, "{name}: {cost} bytes for {}", bytes.len());
    }
}

/// Packages changed at random, always the same way, each with its number.
fn changed(originals: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let mut runner = TestRunner::deterministic();
    let strategy = (0..originals.len(), 0..originals.len(), vec(mutation(), 1..4));
    let mut change = |n| {
        let (one, other, mutations) = strategy.new_tree(&mut runner).unwrap().current();
        (format!("change {n}"), mutated(&originals[one], &mutations, &originals[other]))
    };
    (0..1000).map(&mut change).collect()
}
