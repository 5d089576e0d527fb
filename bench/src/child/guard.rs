//! What cleans up when the parent was killed: a process that outlives it.

use crate::error::{Error, Outcome};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{
    env, fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long PostgreSQL may take to die.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that stops the PostgreSQL in a folder and removes the folder, once this value is dropped or its process ends.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    /// Guards a folder.
    pub(crate) fn over(folder: &Path) -> Result<Self, Error> {
        let program = env::current_exe().map_err(Error::io("find this program"))?;
        Command::new(program)
            .arg("guard")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0) // not reached by a Ctrl-C
            .spawn()
            .map(Self)
            .map_err(Error::io("start a guard"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The process that runs the PostgreSQL of a folder, if any does.
pub(crate) fn postmaster(folder: &Path) -> Option<Pid> {
    let file = fs::read_to_string(folder.join("postgres/postmaster.pid")).ok()?;
    Pid::from_raw(file.lines().next()?.trim().parse().ok()?)
}

/// Is the guard: waits for the end of the parent, then cleans up.
pub(crate) async fn watch(folder: &Path) -> Result<Outcome, Error> {
    let folder: PathBuf = folder.to_owned();
    // The process that waits for its input also has to act on its end, so it does not leave that to a leash.
    tokio::task::spawn_blocking(move || clean_up(&folder)).await??;
    Ok(Outcome::Kept)
}

/// Waits, stops PostgreSQL, removes the folder.
fn clean_up(folder: &Path) -> Result<(), Error> {
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    if let Some(pid) = postmaster(folder) {
        let _ = kill_process(pid, Signal::QUIT);
        let begun = Instant::now();
        while test_kill_process(pid).is_ok() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", folder.display()))(error))
        }
        _ => Ok(()),
    }
}
