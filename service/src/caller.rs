//! Since when and until when the caller waits whose call the current task serves.

use crate::freeze;
use std::time::Duration;
use tokio::time::Instant;

tokio::task_local! {
    static WAITING: Waiting;
}

/// The time in which a call may be served. Whatever is begun later, the caller has given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// When the call came, or might have come: if the process was frozen a moment ago, when the freeze began.
    pub(crate) since: Instant,
    /// When the caller gives up.
    pub(crate) until: Instant,
}

impl Waiting {
    /// Of a call that was read now, whose caller waits for so long.
    pub(crate) fn begin(now: Instant, timeout: Duration) -> Self {
        let since = freeze::recent(now).map_or(now, |freeze| freeze.began);
        Self { since, until: since + timeout }
    }

    /// Of the call that the current task serves; none if it serves none.
    pub(crate) fn current() -> Option<Self> {
        WAITING.try_with(|waiting| *waiting).ok()
    }

    /// Whether the caller has given up.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Serves a call.
    pub(crate) async fn scope<T>(self, call: impl Future<Output = T>) -> T {
        WAITING.scope(self, call).await
    }
}
