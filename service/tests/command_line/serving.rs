//! A `keypool serve` that runs until it is told to stop.

use super::{
    keypool,
    support::{Client, calls::eventually, http},
};
use keypool_service::testing::database::TestDatabase;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::SocketAddr,
    process::{Command, ExitStatus, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
};

pub(super) const ANYWHERE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// A service that runs until it is told to stop, or dropped.
pub(super) struct Serving {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    /// What it says when it listens, after the first line.
    pub(super) greeting: String,
}

impl Serving {
    pub(super) async fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = stdout.next_line().await.unwrap().unwrap_or_default();
        let Some(address) = first.strip_prefix("keypool listening on ") else {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).await.unwrap();
            panic!("{first}{error}");
        };
        let mut greeting = String::new();
        while !greeting.contains("stop with Ctrl-C") {
            greeting += &stdout.next_line().await.unwrap().unwrap();
            greeting += "\n";
        }
        let admin = greeting.split_once("metrics: http://").unwrap().1.split_once('/').unwrap().0;
        let (address, admin) = (address.parse().unwrap(), admin.parse().unwrap());
        Self { child, stdout, address, admin, greeting }
    }

    pub(super) async fn client(&self) -> Client {
        Client::connect(format!("http://{}", self.address)).await.unwrap()
    }

    /// The next line that it prints.
    pub(super) async fn next_line(&mut self) -> String {
        self.stdout.next_line().await.unwrap().unwrap()
    }

    /// Waits until it says that it is ready, or that it is not for this reason.
    pub(super) async fn says(&self, status: u16, reason: &str) {
        eventually(&format!("/readyz says {reason}"), async || {
            let answer = http::get(self.admin, "/readyz").await;
            answer.status == status && answer.text().contains(reason)
        })
        .await;
    }

    /// Sends a signal, waits for the end, and returns what was logged.
    pub(super) async fn stop(mut self, signal: Signal) -> (ExitStatus, String) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
        (self.child.wait().await.unwrap(), log)
    }
}

pub(super) fn on(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = keypool(arguments);
    command.env("KEYPOOL_DATABASE_URL", database.url());
    command
}
