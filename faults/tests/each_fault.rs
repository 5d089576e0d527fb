//! Short runs with each kind of fault: it really happens, calls succeed before and after it and, where somebody is left to answer
//! them, meanwhile, and no promise is broken.

#![allow(clippy::unwrap_used)] // a test says more by failing than an error would

use serde_json::Value;
use std::process::Command;

/// What is to be expected of calls while a fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// None fails that the SDK doesn't hide.
    AllSucceed,
    /// Some succeed, and nobody's outcome need be unknown.
    SomeSucceed,
    /// Some succeed, and of some the outcome is unknown.
    SomeSucceedSomeFail,
    /// Of some the outcome is unknown, and it may be that none succeeds.
    SomeFail,
}

use Meanwhile::{AllSucceed, SomeFail, SomeSucceed, SomeSucceedSomeFail};

/// Runs with one fault of each of these kinds, and checks what was shown.
fn run(seed: u32, faults: &[(&str, Meanwhile)]) {
    let kinds: Vec<&str> = faults.iter().map(|(kind, _)| *kind).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_keypool-faults"))
        .args(["--json", "--seconds", "1", "--clients", "16", "--faults", &kinds.join(",")])
        .args(["--seed", &seed.to_string()])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", output.status);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();

    let count = |pointer: &str| shown.pointer(pointer).and_then(Value::as_u64).unwrap();
    assert_eq!(count("/doubled") + count("/lost") + count("/wrong"), 0, "{errors}");
    for work in ["/handed_out", "/spent", "/uploaded", "/ok_before", "/ok_after"] {
        assert!(count(work) > 0, "{work}\n{errors}");
    }
    for (kind, meanwhile) in faults {
        let of = |what: &str| count(&format!("/by_fault/{kind}/{what}"));
        let (ok, unknown) = (of("ok"), of("unknown"));
        let expected = match meanwhile {
            AllSucceed => ok > 0 && unknown == 0,
            SomeSucceed => ok > 0,
            SomeSucceedSomeFail => ok > 0 && unknown > 0,
            SomeFail => unknown > 0,
        };
        assert!(of("times") > 0 && expected, "{kind}: {meanwhile:?}\n{errors}");
    }
}

#[test]
fn restarts_and_upgrades_fail_nothing() {
    run(1, &[("restart-service", AllSucceed), ("rolling", AllSucceed), ("upgrade", AllSucceed)]);
}

#[test]
fn services_that_die_or_freeze() {
    run(2, &[("kill-service", SomeFail), ("freeze-service", SomeSucceedSomeFail)]);
}

#[test]
fn a_database_that_dies_or_freezes() {
    run(3, &[("kill-database", SomeFail), ("freeze-database", SomeFail)]);
}

#[test]
fn connections_that_break() {
    run(4, &[("cut", SomeFail), ("cut-database", SomeFail)]);
}

#[test]
fn bytes_and_clocks_that_are_late() {
    run(5, &[("delay", SomeSucceed), ("delay-database", SomeSucceed), ("clock", SomeSucceed)]);
}

#[test]
fn replies_that_are_lost() {
    run(6, &[("lose-replies", SomeFail), ("lose-database-replies", SomeFail)]);
}

#[test]
fn connections_that_pass_on_nothing() {
    run(7, &[("black-hole", SomeFail), ("black-hole-database", SomeFail)]);
}

#[test]
fn a_database_that_is_full() {
    run(8, &[("connections", SomeFail), ("full-disk", SomeSucceedSomeFail)]);
}

#[test]
fn statements_that_are_given_up_or_wait() {
    run(9, &[("statements", SomeSucceedSomeFail), ("locked", SomeFail)]);
}

#[test]
fn clocks_that_are_off_by_what_is_tolerated() {
    run(10, &[("skew", SomeSucceed)]);
}

#[test]
fn calls_that_are_made_everywhere_at_once() {
    run(11, &[("repeats", SomeSucceed)]);
}

#[test]
fn commits_that_hang_and_repeats_elsewhere() {
    run(27, &[("hung-commit", SomeFail)]);
}

#[test]
fn rows_that_are_locked_for_long() {
    run(13, &[("locked-rows", SomeSucceedSomeFail)]);
}

#[test]
fn a_database_that_is_restored_in_its_cluster() {
    run(16, &[("restored", SomeSucceedSomeFail)]);
}

#[test]
fn settings_that_promises_could_break_by() {
    run(15, &[("settings", SomeSucceed)]);
}
