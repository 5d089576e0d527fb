//! Packages and requests changed at random, which no change may get past the checks or make a check panic.
//!
//! `KEYPOOL_MUTATIONS` sets how many are tried, `KEYPOOL_MUTATIONS_SEED` where they begin. A failure is shrunk, and names the
//! seed of its case.

#![allow(unreachable_pub, clippy::unwrap_used)]

mod mutate;
mod packages;
mod requests;

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseResult, TestError, TestRng, TestRunner},
};
use std::{env, fmt::Debug, str::FromStr};

const DEFAULT_CASES: u64 = 1000;

/// Runs a property on values of a strategy, each from a seed of its own.
fn holds<S: Strategy>(values: &S, property: impl Fn(S::Value) -> TestCaseResult)
where
    S::Value: Debug,
{
    let cases = setting("KEYPOOL_MUTATIONS").unwrap_or(DEFAULT_CASES);
    let first =
        setting("KEYPOOL_MUTATIONS_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    for seed in first..first + cases {
        if let Err(failure) = runner(seed).run(values, &property) {
            let told = match failure {
                TestError::Fail(why, value) => format!("{why}\n{value:?}"),
                TestError::Abort(why) => why.to_string(),
            };
            panic!("KEYPOOL_MUTATIONS_SEED={seed} KEYPOOL_MUTATIONS=1 fails: {told}");
        }
    }
    println!("{cases} cases from seed {first}");
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

/// A runner of one case.
fn runner(seed: u64) -> TestRunner {
    let config =
        Config { cases: 1, failure_persistence: None, max_shrink_iters: 1000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
