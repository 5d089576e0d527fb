//! A replica of the service, as its parent sees it, with the links to and from it.

use super::{Postgres, serve::MOVE_CLOCK};
use crate::{
    error::Error,
    history::Incident,
    network::{Link, Upstream},
};
use jiff::SignedDuration;
use keypool_service::testing::process::Process;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use std::{env, io, path::PathBuf, time::Duration};
use tokio::{process::Command, time::timeout};

/// How long it may take until a replica listens.
const START: Duration = Duration::from_secs(30);

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
    /// How far its machine's clock is off.
    clock: SignedDuration,
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
        let clock = SignedDuration::ZERO;
        let mut replica = Self { number, program, database_url, process: None, clock, front, back };
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
                command.arg("replica").arg(format!("--clock={}", self.clock.as_micros()));
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
        let process = self.start_process(command).await?;
        let address = process.address().parse().map_err(|_| {
            Error::Usage(format!("{} listens on no address: {}", self.name(), process.address()))
        })?;
        self.front.lead_to(Upstream::Tcp(address));
        self.process = Some(process);
        Ok(())
    }

    async fn start_process(&self, command: Command) -> Result<Process, Error> {
        let name = self.name();
        match timeout(START, Process::start(command)).await {
            Ok(Ok(process)) => Ok(process),
            // It ran, and was no service.
            Ok(Err(error)) if error.kind() == io::ErrorKind::Other => {
                Err(Error::Service(Incident::Died(format!("{name} was to start: {error}"))))
            }
            Ok(Err(error)) => Err(Error::io(format!("start {name}"))(error)),
            Err(_) => {
                let what = format!("{name} did not listen in {START:?}");
                Err(Error::Service(Incident::Hang(what)))
            }
        }
    }

    /// Makes sure that it has not ended by itself.
    ///
    /// # Errors
    /// [`Error::Service`] if it has. Then it does not run any more, as after [`Self::stop`].
    pub(crate) fn make_sure_it_lives(&mut self) -> Result<(), Error> {
        let pid = self.process.as_ref().and_then(Process::pid);
        let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())) else {
            return Ok(());
        };
        // Only looked at: its owner waits for it.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let ended = waitid(WaitId::Pid(pid), look).map_err(io::Error::from);
        let Some(status) = ended.map_err(Error::io("look at a replica"))? else { return Ok(()) };
        self.process = None;
        let how = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("with exit code {code}"),
            (None, Some(signal)) => format!("by signal {signal}"),
            (None, None) => "somehow".to_owned(),
        };
        Err(Error::Service(Incident::Died(format!("{} ended by itself, {how}", self.name()))))
    }

    /// Ends it as `kill -9` does.
    pub(crate) async fn kill_9(&mut self) -> Result<(), Error> {
        match self.process.take() {
            Some(process) => process.kill_9().await.map_err(Error::io("kill a replica")),
            None => Ok(()),
        }
    }

    /// Ends it by SIGTERM.
    ///
    /// # Errors
    /// [`Error::Service`] if it did not end well, or not in time, or had ended before. Whatever comes, it does not run any more.
    pub(crate) async fn stop(&mut self) -> Result<(), Error> {
        self.make_sure_it_lives()?;
        let Some(process) = self.process.take() else { return Ok(()) };
        let status = process.stop().await.map_err(Error::io("stop a replica"))?;
        let name = self.name();
        Err(Error::Service(match status {
            Some(status) if status.success() => return Ok(()),
            Some(status) => Incident::Died(format!("{name} was stopped by SIGTERM: {status}")),
            None => Incident::Hang(format!("{name} was still there long after SIGTERM")),
        }))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        match &self.process {
            Some(process) => process.signal(signal).map_err(Error::io("signal a replica")),
            None => Ok(()),
        }
    }

    /// How far its machine's clock is off.
    pub(crate) fn clock(&self) -> SignedDuration {
        self.clock
    }

    /// Its machine's clock is so far off from now on, also after it was started again.
    pub(crate) async fn set_clock(&mut self, off: SignedDuration) -> Result<(), Error> {
        let by = off - self.clock;
        self.clock = off;
        match &mut self.process {
            Some(process) => process
                .tell(&format!("{MOVE_CLOCK} {}", by.as_micros()))
                .await
                .map_err(Error::io("move a clock")),
            None => Ok(()),
        }
    }
}
