//! Running PostgreSQL's programs.

use super::account::Account;
use std::{env, path::Path, process::Stdio};
use tokio::process::Command;

/// A program of PostgreSQL's, shielded from our environment, working directory and terminal:
/// a Ctrl-C is for keypool, which then stops PostgreSQL in good order.
pub(super) fn command(program: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null()).process_group(0).env("LC_ALL", "C");
    for (name, _) in env::vars_os() {
        // NOTIFY_SOCKET: readiness is keypool's to tell systemd, not PostgreSQL's.
        if name.to_string_lossy().starts_with("PG") || name == "NOTIFY_SOCKET" {
            command.env_remove(name);
        }
    }
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}
