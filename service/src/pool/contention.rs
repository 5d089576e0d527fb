//! Rows that another transaction has locked.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a call waits for such rows before its caller is told to try again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The first pause, a little longer than a commit takes, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// The pause after a statement that had to wait for a lock itself, and kept its lane: many times as long as that may take.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The patience of one call. Lanes pass over locked rows, so that a call which needs one asks again, and nothing else waits.
#[derive(Debug)]
pub(super) struct Contention {
    until: Instant,
    pause: Duration,
}

impl Contention {
    /// The call has just begun.
    pub(super) fn new() -> Self {
        Self { until: Instant::now() + PATIENCE, pause: PAUSES.0 }
    }

    /// Waits a little, each time twice as long. False, at once, if the call has waited for as long as it may.
    pub(super) async fn wait(&mut self) -> bool {
        let pause = self.pause;
        self.pause = (self.pause * 2).min(PAUSES.1);
        self.pause_for(pause).await
    }

    /// Waits for longer, so that a call which keeps its lane waiting does so a small part of the time only.
    pub(super) async fn back_off(&mut self) -> bool {
        self.pause_for(BACK_OFF).await
    }

    async fn pause_for(&self, pause: Duration) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        sleep(pause).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_a_while_and_no_longer() {
        let mut contention = Contention::new();
        let began = Instant::now();
        while contention.wait().await {}
        let waited = began.elapsed();
        assert!((PATIENCE..=PATIENCE + PAUSES.1).contains(&waited), "{waited:?}");
        assert!(!contention.wait().await);
    }
}
