//! Where calls are written down while a run lasts.

use super::{Call, Micros, Outcome, Record};
use std::sync::{Mutex, PoisonError};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Its number.
    pub(crate) number: u32,
    /// Whether it makes no retries.
    pub(crate) one_try: bool,
}

/// The calls of a run so far.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Record>>);

impl Log {
    /// Makes a call, and writes it down with its times. One that is dropped before it has ended is written down, too.
    pub(crate) async fn call<T>(
        &self,
        caller: Caller,
        call: Call,
        making: impl Future<Output = (Outcome, T)>,
    ) -> (Outcome, T) {
        let mut open = Open { log: self, record: Some(begun(caller, call)) };
        let (outcome, value) = making.await;
        if let Some(record) = &mut open.record {
            record.outcome = outcome.clone();
        }
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

/// A call that begins now, of which nobody knows yet what will come.
fn begun(caller: Caller, call: Call) -> Record {
    let Caller { number: client, one_try } = caller;
    let now = Micros::now();
    let outcome = Outcome::Unknown("it did not end".to_owned());
    Record { client, one_try, invoked: now, replied: now, call, outcome }
}

/// A call under way, written down when this is dropped.
struct Open<'a> {
    log: &'a Log,
    record: Option<Record>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.replied = Micros::now();
            self.log.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Device, User};

    #[tokio::test]
    async fn a_call_that_never_ends_is_written_down() {
        let log = Log::default();
        let caller = Caller { number: 1, one_try: false };
        let call = || Call::Status(Device(User(1), 0));
        log.call(caller, call(), async { (Outcome::Ok(Answer::Nothing), ()) }).await;
        let endless = log.call(caller, call(), std::future::pending::<(Outcome, ())>());
        let waited = tokio::time::timeout(std::time::Duration::from_millis(10), endless).await;
        assert!(waited.is_err());
        let outcomes: Vec<bool> =
            log.take().iter().map(|record| record.outcome.is_unknown()).collect();
        assert_eq!(outcomes, [false, true]);
    }
}
