//! Processes that die, stop, or are restarted.

use super::Rig;
use crate::{error::Error, work::Habit};
use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;
use tokio::time::sleep;

/// How long a process is frozen, in milliseconds: longer than the shortest holds last, and often than the longest.
const FROZEN: std::ops::Range<u64> = 1500..4500;

impl Rig {
    pub(super) async fn kill_service(&mut self) -> Result<String, Error> {
        let victims = self.some();
        for victim in &victims {
            self.replicas[*victim].kill_9().await?;
        }
        let away = self.last(200..2000).await;
        for victim in &victims {
            self.replicas[*victim].run().await?;
        }
        Ok(format!("killed {} for {away:?}", self.names(&victims)))
    }

    pub(super) async fn freeze_service(&mut self) -> Result<String, Error> {
        let victim = self.any();
        self.replicas[victim].signal(Signal::STOP)?;
        // It will find calls that were given up, by devices that have made other packages since.
        self.habits.set(Habit::StartOver(victim));
        let away = self.last(FROZEN).await;
        self.habits.set(Habit::Usual);
        self.replicas[victim].signal(Signal::CONT)?;
        Ok(format!("froze {} for {away:?}", self.replicas[victim].name()))
    }

    pub(super) async fn restart_service(&mut self) -> Result<String, Error> {
        let victim = self.any();
        self.restart(victim).await?;
        Ok(format!("restarted {}", self.replicas[victim].name()))
    }

    pub(super) async fn roll(&mut self) -> Result<String, Error> {
        for number in 0..self.replicas.len() {
            self.restart(number).await?;
            self.last(500..1000).await;
        }
        Ok("restarted one replica after the other".to_owned())
    }

    /// Stops a replica by SIGTERM, and starts it again.
    pub(super) async fn restart(&mut self, number: usize) -> Result<(), Error> {
        let stopped = self.replicas[number].stop().await;
        self.remember(stopped)?;
        self.replicas[number].run().await
    }

    pub(super) async fn kill_database(&mut self) -> Result<String, Error> {
        let processes = self.postgres.processes();
        let what = match processes.as_slice() {
            // PostgreSQL ends all others then, and recovers.
            [_, children @ ..] if !children.is_empty() && self.random.random_ratio(1, 2) => {
                let child = children[self.random.random_range(0..children.len())];
                signal(&[child], Signal::KILL);
                "killed one of PostgreSQL's processes"
            }
            _ => {
                self.postgres.kill_9().await;
                "killed PostgreSQL's main process"
            }
        };
        self.wait_until_recovered().await;
        Ok(what.to_owned())
    }

    /// Waits until PostgreSQL serves after some process of it was killed.
    pub(super) async fn wait_until_recovered(&self) {
        self.postgres.wait_until_ready().await;
        // Some of its processes may have outlived the killed one, and what is ready now may be about to recover.
        sleep(Duration::from_millis(300)).await;
        self.postgres.wait_until_ready().await;
    }

    pub(super) async fn freeze_database(&mut self) -> String {
        let frozen = Frozen::freeze(self.postgres.processes());
        let away = self.last(FROZEN).await;
        format!("froze PostgreSQL's {} processes for {away:?}", frozen.0.len())
    }
}

/// Processes that are frozen until this is dropped, as by an interrupted run: a frozen PostgreSQL would not stop.
struct Frozen(Vec<Pid>);

impl Frozen {
    fn freeze(processes: Vec<Pid>) -> Self {
        signal(&processes, Signal::STOP);
        Self(processes)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(&self.0, Signal::CONT);
    }
}

/// Sends a signal to processes, of which some may have ended.
fn signal(processes: &[Pid], signal: Signal) {
    for process in processes {
        let _ = kill_process(*process, signal);
    }
}
