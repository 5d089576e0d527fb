//! The client and the service's gRPC in a simulated network: orders of events that real processes
//! rarely show.
//!
//! Callers, replicas and faults of a run come from one seed, and so does time: the same seed gives
//! the same run. Replicas are the service's own gRPC, from the connection to the pool; the pool is
//! the model that `service/tests/model` checks, in memory, where a replica's link to it may be
//! slow, refuse, break, or lose an answer.
//!
//! A run that fails says how to repeat it: `KEYPOOL_SIM_SEED` is the seed where the runs of a test
//! begin, `KEYPOOL_SIM_SEEDS` how many there are. With `KEYPOOL_SIM_TRACE=1` each run tells what
//! happened.

#![allow(clippy::unwrap_used)] // a test says more by failing than an error would

mod database;
mod device;
mod inviter;
mod nemesis;
mod network;
mod pools;
mod replica;
mod simulation;
mod stock;

use std::env;

use simulation::{Scenario, run};

const SEEDS: u64 = 60;

const CALM: Scenario = Scenario {
    name: "calm",
    cuts: false,
    holds: false,
    crashes: false,
    drains: false,
    database: false,
};

const EVERYTHING: Scenario = Scenario {
    name: "everything",
    cuts: true,
    holds: true,
    crashes: true,
    drains: true,
    database: true,
};

#[test]
fn the_pool_refuses_waits_and_loses_answers() {
    all_seeds(Scenario { name: "database", database: true, ..CALM });
}

#[test]
fn the_network_is_cut_held_and_slow() {
    all_seeds(Scenario { name: "network", cuts: true, holds: true, ..CALM });
}

#[test]
fn callers_are_cut_off_while_the_pool_is_slow() {
    all_seeds(Scenario { name: "silence", cuts: true, database: true, ..CALM });
}

#[test]
fn replicas_are_killed_and_drained() {
    all_seeds(Scenario { name: "replicas", crashes: true, drains: true, ..CALM });
}

#[test]
fn everything_at_once() {
    all_seeds(EVERYTHING);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..10 {
        let (one, other) = (run(EVERYTHING, seed).trace, run(EVERYTHING, seed).trace);
        let same = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
        assert!(one.len() > 100);
        assert_eq!(one[same..].first(), other[same..].first(), "seed {seed}, line {same}");
    }
}

fn all_seeds(scenario: Scenario) {
    let first = setting("KEYPOOL_SIM_SEED").unwrap_or(0);
    let (mut done, mut failed, mut tries) = (0, 0, 0);
    let count = setting("KEYPOOL_SIM_SEEDS").unwrap_or(SEEDS);
    for seed in first..first + count {
        let report = run(scenario, seed);
        let tell = setting("KEYPOOL_SIM_TRACE").is_some_and(|it| it > 0);
        if tell || !report.violations.is_empty() {
            println!("{}", report.trace.join("\n"));
        }
        assert!(
            report.violations.is_empty(),
            "KEYPOOL_SIM_SEED={seed} KEYPOOL_SIM_SEEDS=1 fails in {:?}: {:#?}",
            scenario.name,
            report.violations
        );
        done += report.done;
        failed += report.failed;
        tries += report.tries;
    }
    println!(
        "{}: {count} seeds from {first}; {done} calls done, {failed} failed, {tries} tries",
        scenario.name
    );
}

fn setting(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}
