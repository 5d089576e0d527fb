//! A service that dies by itself, or does not end, is a violation, and not a run that could not be made.

#![allow(clippy::unwrap_used)] // a test says more by failing than an error would

use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const THIS: &str = env!("CARGO_BIN_EXE_keypool-faults");

/// A new folder.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A program that serves, and does something else, too.
fn program(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("keypool");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A short run of this program, which writes its history to the folder.
fn run(folder: &Path, binary: &Path, fault: &str) -> Command {
    let mut command = Command::new(THIS);
    command
        .args(["--json", "--seconds", "3", "--seed", "1", "--clients", "8", "--faults", fault])
        .arg("--binary")
        .arg(binary)
        .arg("--history")
        .arg(folder.join("history"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The run has found this, and so does who checks its history.
fn has_found(folder: &Path, output: &Output, violation: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(shown["wrong"].as_u64() > Some(0), "{errors}");
    assert!(shown["violations"].to_string().contains(violation), "{errors}");
    let again = Command::new(THIS).arg("check").arg(folder.join("history")).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stdout).contains(violation));
}

#[test]
fn a_replica_that_dies_by_itself() {
    let folder = folder("dies");
    let pid = folder.join("pid");
    let binary = program(&folder, &format!("echo $$ > {}\nexec {THIS} replica", pid.display()));
    let mut running = run(&folder, &binary, "delay").spawn().unwrap();
    let mut errors = BufReader::new(running.stderr.take().unwrap());
    // It says so when it has injected a fault: clients are at work then.
    let (mut told, mut line) = (String::new(), String::new());
    while !line.contains("between replica") {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0, "{told}");
        told += &line;
    }
    let pid = fs::read_to_string(&pid).unwrap();
    assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    errors.read_to_string(&mut told).unwrap();
    let output = Output { stderr: told.into_bytes(), ..running.wait_with_output().unwrap() };
    has_found(&folder, &output, "ended by itself, by signal 9");
}

#[test]
fn a_replica_that_does_not_end() {
    let folder = folder("stays");
    // The shell takes the signal, and passes on nothing.
    let binary = program(&folder, &format!("trap '' TERM\nexec 3<&0\n{THIS} replica <&3 &\nwait"));
    let output = run(&folder, &binary, "restart-service").output().unwrap();
    has_found(&folder, &output, "was still there long after SIGTERM");
}
