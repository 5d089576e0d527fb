//! Cleaning up after the process.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Waits for the process to end, stops the PostgreSQL in the folder, and removes the folder.
const SCRIPT: &str = r#"
    cat
    pid_file="$1/postgres/postmaster.pid"
    if pid=$(head -n 1 "$pid_file"); then
        kill -QUIT "$pid"
        kill -CONT "$pid" # it may be frozen
        while [ -e "$pid_file" ] && kill -0 "$pid"; do sleep 0.05; done
    fi
    rm -rf "$1"
"#;

/// A shell that outlives this process: statics are never dropped, and a killed process drops
/// nothing. It sees the process end by the pipe to it, which closes.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

impl Watchdog {
    pub(super) fn over(data_dir: &Path) -> Self {
        Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // not reached by a Ctrl-C
            .spawn()
            .map(Self)
            .expect("sh runs")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
