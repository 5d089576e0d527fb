//! The folder of the unix socket.

use super::{
    account::Account,
    error::{EmbeddedError, Trying},
};
use std::{
    env,
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Addresses of unix sockets are short: 107 bytes on Linux, 103 on macOS.
const LONGEST_SOCKET: usize = 103;

/// The folder of the unix socket.
#[derive(Debug)]
pub(super) enum SocketDir {
    Cluster(PathBuf),
    /// Removed when dropped.
    Temporary(TempDir),
}

impl SocketDir {
    /// The cluster's own folder, unless its path is too long.
    pub(super) fn choose(cluster: &Path, account: Option<&Account>) -> Result<Self, EmbeddedError> {
        let socket = cluster.join(".s.PGSQL.5432");
        // Settings are text.
        if socket.to_str().is_some_and(|path| path.len() <= LONGEST_SOCKET) {
            return Ok(Self::Cluster(cluster.to_owned()));
        }
        let folder = tempfile::Builder::new()
            .prefix("keypool-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .trying("create a folder in", &env::temp_dir())?;
        if let Some(account) = account {
            account.own(folder.path())?;
        }
        Ok(Self::Temporary(folder))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Cluster(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }

    /// The path as a setting, which is a list of paths.
    pub(super) fn setting(&self) -> String {
        format!("\"{}\"", self.path().to_string_lossy().replace('"', "\"\""))
    }
}
