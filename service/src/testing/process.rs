//! Processes that serve, for tools and tests that kill them.
//!
//! Each is a program that says where it listens in the first line of its standard output, as `keypool serve` does. It ends with
//! whoever started it if it is on the [`leash`].

use rustix::process::{Pid, Signal, kill_process};
use std::{
    io,
    process::{self, ExitStatus, Stdio},
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// How long a process may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(5);

/// A running process that serves. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: String,
    stdin: ChildStdin,
    /// What it writes goes nowhere, and must not fail.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a program, and waits until it says where it listens: `… listening on ADDRESS`.
    ///
    /// # Errors
    /// If it can't be started, or ends before it listens.
    pub async fn start(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).process_group(0);
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut stdout = BufReader::new(stdout).lines();
        let first = stdout.next_line().await?;
        let address = first.as_deref().and_then(|line| line.split_once(" listening on "));
        let (_, address) =
            address.ok_or_else(|| io::Error::other("it ended before it listened: see its log"))?;
        Ok(Self { child, address: address.to_owned(), stdin, _stdout: stdout })
    }

    /// Where it listens, as it says: an address and a port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process; none once it has ended and was waited for.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// If it does not read any more.
    pub async fn tell(&mut self, line: &str) -> io::Result<()> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        self.stdin.flush().await
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(kill_process(pid.ok_or(io::ErrorKind::NotFound)?, signal)?)
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill_9(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Ends it as an operator does, by SIGTERM, and returns how it ended: none if it took more than five seconds, and had to be
    /// killed.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn stop(mut self) -> io::Result<Option<ExitStatus>> {
        let _ = self.signal(Signal::TERM);
        match timeout(STOP, self.child.wait()).await {
            Ok(status) => status.map(Some),
            Err(_) => self.child.kill().await.map(|()| None),
        }
    }
}

/// Ends this process as soon as its standard input ends, which a [`Process`] holds open for as long as it lives. Each line that
/// comes before is given to `told`.
pub fn leash(told: impl Fn(&str) + Send + 'static) {
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            told(&line);
        }
        process::exit(1);
    });
}
