//! Stopping a postmaster, harder and harder.

use rustix::process::{Pid, Signal, kill_process};
use std::{pin::pin, time::Duration};
use tokio::time::timeout;

/// Signals, and how long each has to work. The last is as good as a power failure: recovery at the
/// next start takes longer, but no committed data is lost.
const STEPS: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(4)), // fast: roll back and disconnect everyone
    (Signal::QUIT, Duration::from_secs(6)), // immediate: no checkpoint
    (Signal::KILL, Duration::MAX),
];

/// Stops the postmaster, and waits until it is `gone`.
pub(super) async fn shut_down(pid: Pid, gone: impl Future<Output = ()>) {
    let mut gone = pin!(gone);
    for (signal, patience) in STEPS {
        // Fails only if it has just gone by itself.
        let _ = kill_process(pid, signal);
        if timeout(patience, gone.as_mut()).await.is_ok() {
            return;
        }
    }
}
