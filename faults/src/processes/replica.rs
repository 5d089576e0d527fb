//! A replica of the service, as its parent sees it, with the links to and from it.

use super::{Postgres, serve::MOVE_CLOCK};
use crate::{
    error::Error,
    network::{Link, Upstream},
};
use jiff::SignedDuration;
use keypool_service::testing::process::Process;
use rustix::process::Signal;
use std::{env, path::PathBuf};
use tokio::process::Command;

/// What the variables begin with that configure the service.
const PREFIX: &str = "KEYPOOL_";

/// How replicas are configured where that is not the default: packages that live for seconds are taken, and forgotten when they
/// have been expired for longer than a clock is ever off; and devices upload as fast as they can.
const SETTINGS: [(&str, &str); 8] = [
    ("KEYPOOL_LISTEN", "127.0.0.1:0"),
    ("KEYPOOL_ADMIN_LISTEN", "127.0.0.1:0"),
    ("KEYPOOL_DATABASE_CONNECTIONS", "6"),
    ("KEYPOOL_SWEEP_INTERVAL", "2s"),
    ("KEYPOOL_POOL__KEEP_EXPIRED", "40s"),
    ("KEYPOOL_VALIDATION__MIN_REMAINING", "2s"),
    ("KEYPOOL_LIMITS__RATES__UPLOAD__BURST", "1000000"),
    ("KEYPOOL_LIMITS__RATES__UPLOAD__EVERY", "1us"),
];

/// What a replica runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Program {
    /// The service in this program, whose clock can be moved.
    Own,
    /// A `keypool`.
    Binary(PathBuf),
}

/// A replica.
#[derive(Debug)]
pub(crate) struct Replica {
    number: usize,
    program: Program,
    database_url: String,
    process: Option<Process>,
    /// Between clients and it.
    pub(crate) front: Link,
    /// Between it and the database.
    pub(crate) back: Link,
}

impl Replica {
    /// Starts one.
    pub(crate) async fn start(
        number: usize,
        program: Program,
        postgres: &Postgres,
    ) -> Result<Self, Error> {
        let front = Link::open(Upstream::Nobody).await.map_err(Error::io("listen"))?;
        let back = Link::open(postgres.upstream()).await.map_err(Error::io("listen"))?;
        let database_url = postgres.url_by(back.address());
        let mut replica = Self { number, program, database_url, process: None, front, back };
        replica.run().await?;
        Ok(replica)
    }

    /// Where clients reach it, whether it runs or not.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.front.address())
    }

    /// Its name in reports.
    pub(crate) fn name(&self) -> String {
        format!("replica {}", self.number)
    }

    /// From its next start on runs another program.
    pub(crate) fn replace(&mut self, program: Program) {
        self.program = program;
    }

    /// Starts it again.
    pub(crate) async fn run(&mut self) -> Result<(), Error> {
        let mut command = match &self.program {
            Program::Own => {
                let program = env::current_exe().map_err(Error::io("find this program"))?;
                let mut command = Command::new(program);
                command.arg("replica");
                command
            }
            Program::Binary(path) => {
                let mut command = Command::new(path);
                command.arg("serve");
                command
            }
        };
        // What runs is what is said here, not what the shell has set.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with(PREFIX) && name != "KEYPOOL_LOG" {
                command.env_remove(&*name);
            }
        }
        if env::var_os("KEYPOOL_LOG").is_none() {
            command.env("KEYPOOL_LOG", "off");
        }
        command.env("KEYPOOL_DATABASE_URL", &self.database_url).envs(SETTINGS);
        let process =
            Process::start(command).await.map_err(Error::io(format!("start {}", self.name())))?;
        let address = process.address().parse().map_err(|_| {
            Error::Usage(format!("{} listens on no address: {}", self.name(), process.address()))
        })?;
        self.front.lead_to(Upstream::Tcp(address));
        self.process = Some(process);
        Ok(())
    }

    /// Ends it as `kill -9` does.
    pub(crate) async fn kill_9(&mut self) -> Result<(), Error> {
        match self.process.take() {
            Some(process) => process.kill_9().await.map_err(Error::io("kill a replica")),
            None => Ok(()),
        }
    }

    /// Ends it by SIGTERM; whether it ended well and in time.
    pub(crate) async fn stop(&mut self) -> Result<bool, Error> {
        match self.process.take() {
            Some(process) => {
                let status = process.stop().await.map_err(Error::io("stop a replica"))?;
                Ok(status.is_some_and(|status| status.success()))
            }
            None => Ok(true),
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        match &self.process {
            Some(process) => process.signal(signal).map_err(Error::io("signal a replica")),
            None => Ok(()),
        }
    }

    /// Moves its clock.
    pub(crate) async fn move_clock(&mut self, by: SignedDuration) -> Result<(), Error> {
        match &mut self.process {
            Some(process) => process
                .tell(&format!("{MOVE_CLOCK} {}", by.as_micros()))
                .await
                .map_err(Error::io("move a clock")),
            None => Ok(()),
        }
    }
}
