//! PostgreSQL's main process.

use super::shutdown::shut_down;
use rustix::process::{Pid, Signal, kill_process};
use std::{io, process::ExitStatus};
use tokio::process::Child;

/// PostgreSQL's main process. Asked to stop when dropped.
#[derive(Debug)]
pub(super) struct Postmaster(Child);

impl Postmaster {
    pub(super) fn new(child: Child) -> Self {
        Self(child)
    }

    /// `None` once it has been waited for.
    pub(super) fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.0.id()?.cast_signed())
    }

    /// Waits until it exits.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    /// Stops it, and waits until it's gone.
    pub(super) async fn stop(mut self) {
        if let Some(pid) = self.pid() {
            shut_down(pid, async {
                let _ = self.wait().await;
            })
            .await;
        }
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::INT);
        }
    }
}
