//! Broken promises.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// How many are told of.
const SHOWN: usize = 10;

/// A broken promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Two reservations held a package at the same time.
    HandedOutTwice,
    /// A spent package was handed out, or spent by another reservation.
    SpentCameBack,
    /// A pool was called exhausted that has packages.
    FalselyExhausted,
    /// A repeated reserve returned another package while the first hold lasted.
    RepeatDiffers,
    /// An answer is not about what was asked for.
    WrongAnswer,
    /// A package is in no place or in several, or a pool's books don't balance.
    BooksDoNotBalance,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HandedOutTwice => "two reservations held one package at the same time",
            Self::SpentCameBack => "a spent package was handed out or spent again",
            Self::FalselyExhausted => "a pool was called exhausted that has packages",
            Self::RepeatDiffers => "a repeated reserve returned another package",
            Self::WrongAnswer => "an answer is not about what was asked for",
            Self::BooksDoNotBalance => "the books don't balance",
        })
    }
}

/// All broken promises of a run.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    count: AtomicU64,
    first: Mutex<Vec<String>>,
}

impl Violations {
    /// Notes one, and in which reservation or where.
    pub(super) fn note(&self, violation: Violation, what: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.len() < SHOWN {
            first.push(format!("{violation}: {what}"));
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The first of them, in words.
    pub(crate) fn first(&self) -> Vec<String> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
