use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::Instant;
use tonic::codegen::Bytes;

/// The parts of answers that a connection has and could not send yet. Cheap to clone.
///
/// HTTP/2 asks for a part before it knows whether the peer takes it, and keeps it as long as the peer leaves its window closed.
#[derive(Debug, Clone, Default)]
pub struct Unsent {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    begun: u64,
    /// In the order in which they began to wait.
    since: BTreeMap<u64, Instant>,
}

/// A part of an answer, with what must last until it was sent.
struct Part<T> {
    bytes: Bytes,
    number: u64,
    of: Unsent,
    _kept: T,
}

impl Unsent {
    /// The same bytes, which count until they were sent, and keep something until then.
    pub(crate) fn track<T: Send + 'static>(&self, bytes: Bytes, kept: T) -> Bytes {
        let number = {
            let mut waiting = self.waiting();
            waiting.begun += 1;
            let number = waiting.begun;
            waiting.since.insert(number, Instant::now());
            number
        };
        Bytes::from_owner(Part { bytes, number, of: self.clone(), _kept: kept })
    }

    /// Since when the part waits that has waited for the longest time; none if none does.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiting().since.first_key_value().map(|(_, since)| *since)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is locked.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> AsRef<[u8]> for Part<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T> Drop for Part<T> {
    fn drop(&mut self) {
        self.of.waiting().since.remove(&self.number);
    }
}

impl<T> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_wait_until_their_last_copy_is_dropped() {
        let unsent = Unsent::default();
        assert_eq!(unsent.oldest(), None);
        let kept = Arc::new(());
        let first = unsent.track(Bytes::from_static(b"first"), kept.clone());
        let since = unsent.oldest().unwrap();
        let second = unsent.track(Bytes::from_static(b"second"), kept.clone());
        assert_eq!(unsent.oldest(), Some(since));
        let rest = first.slice(2..);
        assert_eq!(&rest[..], b"rst");
        drop(first);
        assert_eq!((unsent.oldest(), Arc::strong_count(&kept)), (Some(since), 3));
        drop(rest);
        assert!(unsent.oldest().is_some_and(|oldest| oldest >= since));
        assert_eq!(Arc::strong_count(&kept), 2);
        drop(second);
        assert_eq!(unsent.oldest(), None);
    }
}
