//! The postmaster that a killed keypool left behind.

use super::{
    error::{EmbeddedError, Trying},
    shutdown::shut_down,
};
use rustix::process::Pid;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::sleep;

/// The process that runs the cluster, or last did, by what it left in its folder.
pub(crate) fn postmaster_pid(cluster: &Path) -> Option<Pid> {
    let text = fs::read_to_string(pid_file(cluster)).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

/// Stops the postmaster of the cluster, if there is one. To be called by the owner of the lock.
pub(super) async fn stop_orphan(cluster: &Path) -> Result<(), EmbeddedError> {
    let Some(pid) = postmaster_pid(cluster) else {
        return Ok(());
    };
    if is_postmaster_of(pid, cluster) {
        tracing::warn!(pid = %pid.as_raw_nonzero(), "stopping the PostgreSQL of a killed keypool");
        shut_down(pid, async {
            while is_postmaster_of(pid, cluster) {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
    // The number may belong to another process by now, for which PostgreSQL would refuse to start.
    match fs::remove_file(pid_file(cluster)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
    .trying("remove", &pid_file(cluster))
}

fn pid_file(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

/// Whether the process lives, and is a postmaster that [`super::postmaster`] started on the cluster.
pub(super) fn is_postmaster_of(pid: Pid, cluster: &Path) -> bool {
    let end = format!(" -D {}", cluster.display());
    command_line(pid).is_some_and(|line| line.contains("postgres") && line.ends_with(&end))
}

/// The command line of a process; `None` or empty if it has exited.
#[cfg(target_os = "linux")]
fn command_line(pid: Pid) -> Option<String> {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    Some(String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " "))
}

/// The command line of a process; `None` or empty if it has exited.
#[cfg(not(target_os = "linux"))]
fn command_line(pid: Pid) -> Option<String> {
    let pid = pid.as_raw_nonzero().to_string();
    let answer =
        std::process::Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid]).output();
    Some(String::from_utf8_lossy(&answer.ok()?.stdout).trim_end().to_owned())
}
