//! Replicas of the service as processes of their own, which can be stopped and killed.

use std::io::{BufRead, BufReader, copy, sink, stdin};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, process, thread};

use clap::Parser;
use keypool_service::cli::Cli;
use rustix::process::{Pid, Signal, kill_process};

/// Set in a process that is to be a replica: the database's URL.
const DATABASE: &str = "TEST_REPLICA_DATABASE_URL";

/// Is a replica, if this process is to be one: for a test that [`Replica::start`] runs.
pub(crate) async fn be_one() {
    let Ok(database) = env::var(DATABASE) else { return };
    thread::spawn(|| {
        // Ends with the test, in whatever way that ends.
        let _ = copy(&mut stdin().lock(), &mut sink());
        process::exit(1);
    });
    let free = "127.0.0.1:0";
    let flags = ["--listen", free, "--admin-listen", free, "--database-url", &database];
    Cli::parse_from([&["keypool", "serve"], &flags[..]].concat()).run().await.unwrap();
}

/// A running replica. Killed when dropped.
pub(crate) struct Replica {
    process: Child,
    pub(crate) endpoint: String,
    /// What it writes goes nowhere, and must not fail.
    #[allow(dead_code)]
    stdout: Option<BufReader<ChildStdout>>,
}

impl Replica {
    /// Starts this program anew, with nothing but a test that makes it a replica.
    pub(crate) fn start(test: &str, database_url: &str) -> Self {
        let process = Command::new(env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(DATABASE, database_url)
            .env("KEYPOOL_LOG", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut replica = Self { process, endpoint: String::new(), stdout: None };
        let mut stdout = BufReader::new(replica.process.stdout.take().unwrap());
        while replica.endpoint.is_empty() {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the replica starts");
            if let Some((_, address)) = line.trim_end().split_once("keypool listening on ") {
                replica.endpoint = format!("http://{address}");
            }
        }
        replica.stdout = Some(stdout);
        replica
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn ended(mut self) {
        self.process.wait().unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
