//! Whatever ends the tool, it leaves nothing behind.

#![allow(clippy::unwrap_used)] // a test says more by failing than an error would

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn nothing_is_left_after_kill_9() {
    ends_clean(Signal::KILL);
}

#[test]
fn nothing_is_left_after_ctrl_c() {
    ends_clean(Signal::INT);
}

/// Ends the tool by a signal while PostgreSQL runs, and waits until its folder is gone.
fn ends_clean(signal: Signal) {
    let folder = folder();
    let mut tool = start(folder.path());
    eventually("PostgreSQL runs", || postmaster(folder.path()).is_some());
    let pid = Pid::from_raw(tool.id().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
    tool.wait().unwrap();
    eventually("the folder is gone", || entries(folder.path()) == 0);
}

/// A folder that any account can enter: root's PostgreSQL is another account's.
fn folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o711)).tempdir().unwrap()
}

fn start(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_keypool-bench"))
        .args(["compare", "--quick", "--packages", "32000", "--data-dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// The file that PostgreSQL writes when it starts.
fn postmaster(folder: &Path) -> Option<String> {
    let private = fs::read_dir(folder).unwrap().next()?.unwrap().path();
    fs::read_to_string(private.join("postgres/postmaster.pid")).ok()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(20));
    }
}
