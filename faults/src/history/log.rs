//! Where calls are written down while a run lasts.

use super::{Call, Micros, Outcome, Record};
use std::sync::{Mutex, PoisonError};

/// The calls of a run so far.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Record>>);

impl Log {
    /// Makes a call, and writes it down with its times.
    pub(crate) async fn call<T>(
        &self,
        client: u32,
        call: Call,
        making: impl Future<Output = (Outcome, T)>,
    ) -> (Outcome, T) {
        let invoked = Micros::now();
        let (outcome, value) = making.await;
        let replied = Micros::now();
        let record = Record { client, invoked, replied, call, outcome: outcome.clone() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        (outcome, value)
    }

    /// Everything that was written down.
    pub(crate) fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many calls there were so far.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
