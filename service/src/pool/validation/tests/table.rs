//! The table of hostile packages, which goes over gRPC, too, in `service/tests/upload`.

use super::*;
use crate::testing::hostile::{Hostile, hostile, odd};
use std::collections::HashSet;

#[test]
fn every_hostile_package_is_rejected_for_its_reason() {
    let table = hostile("alice", "phone");
    let misjudged: Vec<String> = table.iter().filter_map(misjudged).collect();
    assert!(misjudged.is_empty(), "{misjudged:#?}");
    let names: HashSet<_> = table.iter().map(|hostile| &hostile.name).collect();
    assert_eq!(names.len(), table.len(), "a name for each");
}

/// What is wrong with the answer to a package, if anything.
fn misjudged(Hostile { name, bytes, reason }: &Hostile) -> Option<String> {
    match check(bytes) {
        Ok(_) => Some(format!("{name}: accepted")),
        Err(it) if it.reason != *reason => Some(format!("{name}: {:?}: {it}", it.reason)),
        Err(it) if it.message.contains("could not be checked") => Some(format!("{name}: a panic")),
        Err(it) if it.message.len() > 500 => Some(format!("{name}: a long message: {it}")),
        Err(_) => None,
    }
}

#[test]
fn every_odd_package_is_accepted() {
    for (name, bytes) in odd("alice", "phone") {
        let package = check(&bytes).unwrap_or_else(|rejection| panic!("{name}: {rejection}"));
        assert_eq!(package.bytes, bytes, "{name}");
        assert!(!package.last_resort, "{name}");
    }
}
