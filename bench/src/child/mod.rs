//! The services that are measured: this very program, started again, so that each has a process of its own.
//!
//! They die with their parent, however that ends: each waits for the end of its standard input.

pub(crate) mod echo;
pub(crate) mod guard;
pub(crate) mod keypool;
pub(crate) mod leash;

use crate::error::Error;
use rustix::process::{Pid, Signal, kill_process};
use std::{env, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{ChildStdout, Command},
    time::timeout,
};

/// How long a service may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(5);

/// A running service. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: tokio::process::Child,
    endpoint: String,
    /// What it writes goes nowhere, and must not fail.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this program again with other arguments, and waits until it says where it listens.
    async fn start(
        what: &'static str,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self, Error> {
        let program = env::current_exe().map_err(Error::io("find this program"))?;
        let mut command = Command::new(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).process_group(0);
        configure(&mut command);
        let mut process = command.spawn().map_err(Error::io(format!("start {what}")))?;
        let stdout = process.stdout.take().ok_or(Error::Child { what })?;
        let mut stdout = BufReader::new(stdout).lines();
        let first = stdout.next_line().await.map_err(Error::io(format!("hear from {what}")))?;
        let address = first.as_deref().and_then(|line| line.split_once(" listening on "));
        let (_, address) = address.ok_or(Error::Child { what })?;
        Ok(Self { process, endpoint: format!("http://{address}"), _stdout: stdout })
    }

    /// Where it serves.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Stops it as an operator does.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        if let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP, self.process.wait()).await.is_err() {
            self.process.kill().await.map_err(Error::io("stop a service"))?;
        }
        Ok(())
    }
}
