//! Creating the cluster, whole or not at all.

use super::{
    account::Account,
    binaries::Binaries,
    command::command,
    data_dir::DataDir,
    error::{EmbeddedError, Trying},
    password::Password,
};
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// The database user, with all rights in its private PostgreSQL.
pub(super) const USER: &str = "keypool";

/// How the names of folders in which a cluster is being made begin.
const STAGING: &str = "initdb-";

/// Creates the cluster aside and then renames it, so that a crash never leaves half a cluster.
pub(super) async fn create_cluster(
    data_dir: &DataDir,
    binaries: &Binaries,
    account: Option<&Account>,
) -> Result<(), EmbeddedError> {
    remove_leftovers(data_dir.path())?;
    let staging = tempfile::Builder::new()
        .prefix(STAGING)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(data_dir.path())
        .trying("create a folder in", data_dir.path())?;

    // There's no cluster yet for which an earlier password would matter.
    let password = Password::generate();
    password.write(&data_dir.password_file())?;
    let password_file = staging.path().join("password");
    password.write(&password_file)?;
    if let Some(account) = account {
        account.own(staging.path())?;
    }

    let (cluster, initdb) = (staging.path().join("postgres"), binaries.initdb());
    let output = command(&initdb, account)
        .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--data-checksums"])
        .args(["--username", USER, "--pwfile"])
        .arg(password_file)
        .arg("--pgdata")
        .arg(&cluster)
        .kill_on_drop(true)
        .output()
        .await
        .trying("run", &initdb)?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(EmbeddedError::Initdb { output });
    }

    fs::rename(&cluster, data_dir.cluster()).trying("put in place", &cluster)?;
    File::open(data_dir.path()).and_then(|folder| folder.sync_all()).trying("sync", data_dir.path())
}

fn remove_leftovers(data_dir: &Path) -> Result<(), EmbeddedError> {
    for entry in fs::read_dir(data_dir).trying("list", data_dir)? {
        let entry = entry.trying("list", data_dir)?;
        if entry.file_name().to_string_lossy().starts_with(STAGING) {
            // In vain while an orphaned initdb still writes there. The next one will do it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
