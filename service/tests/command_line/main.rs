//! The program itself: what it says, and how it ends.

#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod configuration;
mod database;
mod doctor;
mod migrate;
mod security_log;
mod serve;
mod serving;
mod unfit;
mod usage;
mod waiting;

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};
use support::process::keypool;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command that ends by itself.
async fn run(command: Command) -> Output {
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, output).await.expect("the command ends").unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Runs a command that must succeed, and returns what it prints.
async fn succeeds(command: Command) -> String {
    let output = run(command).await;
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).to_owned()
}

/// Runs a command that must fail, and returns what it says about it.
async fn fails(command: Command, code: i32) -> String {
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(stdout(&output), "", "{output:?}");
    stderr(&output).to_owned()
}

/// A configuration file, and the folder that it goes with.
fn file(toml: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keypool.toml");
    std::fs::write(&path, toml).unwrap();
    (folder, path)
}
