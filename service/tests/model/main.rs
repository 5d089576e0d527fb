//! The pool against a model of it: seeded random operations run on both, and every answer, every count and every entry of
//! the spend log must be the same.
//!
//! The model is written from the contract in `proto/`, and keeps in memory what the pool keeps in PostgreSQL. The real
//! pool runs as two replicas on one database, with a clock that stands still between operations: so the moment at which a
//! hold lapses or a grace ends is hit exactly.
//!
//! `KEYPOOL_MODEL_CASES` sets how many cases run, `KEYPOOL_MODEL_SEED` where they begin. A failure is shrunk, and names
//! the seed of its case.

#![allow(clippy::unwrap_used)] // a test says more by failing than an error would

mod check;
mod drive;
mod operations;
mod real;
mod resolve;
mod stock;

use drive::Run;
use operations::Operation;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use real::Real;
use std::{cell::RefCell, env, str::FromStr};

const DEFAULT_CASES: u64 = 40;

#[test]
fn the_pool_does_what_its_model_does() {
    let cases = setting("KEYPOOL_MODEL_CASES").unwrap_or(DEFAULT_CASES);
    let first = setting("KEYPOOL_MODEL_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let real = RefCell::new(runtime.block_on(Real::start()));
    let operations = RefCell::new(0);
    for seed in first..first + cases {
        let case = |case: Vec<Operation>| {
            *operations.borrow_mut() += case.len();
            runtime.block_on(run(&mut real.borrow_mut(), &case))
        };
        if let Err(failure) = runner(seed).run(&operations::case(), case) {
            panic!("KEYPOOL_MODEL_SEED={seed} KEYPOOL_MODEL_CASES=1 fails: {}", told(failure));
        }
    }
    println!("{} operations in {cases} cases from seed {first}", operations.borrow());
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

/// What failed, and the shortest way there.
fn told(failure: TestError<Vec<Operation>>) -> String {
    match failure {
        TestError::Fail(why, operations) => {
            let lines: Vec<String> = operations.iter().map(|one| format!("  {one:?}")).collect();
            format!("{why}\n{}", lines.join("\n"))
        }
        TestError::Abort(why) => why.to_string(),
    }
}

/// A runner of one case.
fn runner(seed: u64) -> TestRunner {
    let config =
        Config { cases: 1, failure_persistence: None, max_shrink_iters: 1000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

async fn run(real: &mut Real, operations: &[Operation]) -> Result<(), TestCaseError> {
    real.reset().await;
    let mut run = Run::new(real);
    for (number, operation) in operations.iter().enumerate() {
        run.step(operation).await.map_err(|error| {
            TestCaseError::fail(format!("operation {number}, {operation:?}: {error}"))
        })?;
    }
    run.finish().await
}
