//! Real `keypool` processes.

use super::{Client, calls::eventually};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// The program with arguments, and without any variable that could configure it.
pub fn keypool(arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keypool"));
    for (variable, _) in std::env::vars() {
        if variable.starts_with("KEYPOOL_") {
            command.env_remove(variable);
        }
    }
    command.args(arguments);
    command
}

/// A running service. Killed when dropped.
pub struct Keypool {
    child: Child,
    endpoint: String,
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Keypool {
    /// Starts `keypool` on free ports, and waits until it says where it listens.
    pub async fn start(flags: &[&str]) -> Self {
        let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut child = Command::from(keypool(&ports))
            .args(flags)
            .env("KEYPOOL_LOG", "off")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = stdout.next_line().await.unwrap().expect("keypool starts");
        let address = first.strip_prefix("keypool listening on ").unwrap_or_else(|| {
            panic!("the first line does not say where keypool listens: {first}")
        });
        Self { child, endpoint: format!("http://{address}"), _stdout: stdout }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.endpoint.clone()).await.unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("keypool runs")
    }

    /// Stops all of its threads until it gets a SIGCONT.
    pub async fn freeze(&self) {
        self.signal(Signal::STOP);
        // Each thread goes on until it notices.
        let tasks = format!("/proc/{}/task", self.pid());
        eventually("all threads have stopped", async || {
            fs::read_dir(&tasks).unwrap().all(|task| {
                let stat = fs::read_to_string(task.unwrap().path().join("stat"));
                // The state comes after the name, which is in parentheses.
                stat.is_ok_and(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('T'))
            })
        })
        .await;
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.pid();
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Ends it as `kill -9` does.
    pub async fn kill_9(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A data directory for a `keypool` with a private PostgreSQL, which ends with it whatever the test did.
pub struct DataDir(TempDir);

impl DataDir {
    pub fn new() -> Self {
        let passable = Permissions::from_mode(0o711); // root's PostgreSQL is another account's
        Self(tempfile::Builder::new().permissions(passable).tempdir().unwrap())
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn postmaster(&self) -> Option<Pid> {
        let file = fs::read_to_string(self.path().join("postgres/postmaster.pid")).ok()?;
        Pid::from_raw(file.lines().next()?.trim().parse().ok()?)
    }

    pub fn has_postgres(&self) -> bool {
        self.postmaster().is_some()
    }

    /// Ends PostgreSQL as `kill -9` does.
    pub async fn kill_9_postgres(&self) {
        let pid = self.postmaster().expect("PostgreSQL runs");
        kill_process(pid, Signal::KILL).unwrap();
        eventually("PostgreSQL dies", async || test_kill_process(pid).is_err()).await;
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Some(pid) = self.postmaster() {
            let _ = kill_process(pid, Signal::QUIT);
        }
    }
}
