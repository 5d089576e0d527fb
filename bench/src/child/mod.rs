//! The services that are measured: this very program, started again, so that each has a process of its own.
//!
//! They die with their parent, however that ends: each waits for the end of its standard input.

pub(crate) mod echo;
pub(crate) mod guard;
pub(crate) mod keypool;

use crate::error::Error;
use keypool_service::testing::process::Process;
use std::env;
use tokio::process::Command;

/// A running service. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    endpoint: String,
}

impl Child {
    /// Starts this program again with other arguments, and waits until it says where it listens.
    async fn start(
        what: &'static str,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self, Error> {
        let program = env::current_exe().map_err(Error::io("find this program"))?;
        let mut command = Command::new(program);
        configure(&mut command);
        let process = Process::start(command).await.map_err(Error::io(format!("start {what}")))?;
        let endpoint = format!("http://{}", process.address());
        Ok(Self { process, endpoint })
    }

    /// Where it serves.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Stops it as an operator does.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.process.stop().await.map(drop).map_err(Error::io("stop a service"))
    }
}
