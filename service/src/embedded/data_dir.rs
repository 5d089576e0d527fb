//! The folder that holds everything.

use super::error::{EmbeddedError, Trying};
use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The folder that holds everything, locked for as long as this value lives.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Creates the folder where it doesn't exist, for others to pass through if `traversable`.
    pub(super) fn open(path: &Path, traversable: bool) -> Result<Self, EmbeddedError> {
        if !path.exists() {
            let mode = if traversable { 0o711 } else { 0o700 };
            DirBuilder::new().recursive(true).mode(mode).create(path).trying("create", path)?;
            // Whatever the umask.
            fs::set_permissions(path, Permissions::from_mode(mode)).trying("open up", path)?;
        }
        let path = path.canonicalize().trying("find", path)?;
        let lock = lock(&path)?;
        Ok(Self { path, lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// PostgreSQL's own data directory.
    pub(super) fn cluster(&self) -> PathBuf {
        self.path.join("postgres")
    }

    pub(super) fn password_file(&self) -> PathBuf {
        self.path.join("password")
    }

    /// The major version that made the cluster; `None` where there is no cluster.
    pub(super) fn made_by(&self) -> Result<Option<u32>, EmbeddedError> {
        if !self.cluster().exists() {
            return Ok(None);
        }
        let file = self.cluster().join("PG_VERSION");
        let text = fs::read_to_string(&file).trying("read", &file)?;
        text.trim().parse().map(Some).map_err(std::io::Error::other).trying("understand", &file)
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Closing wouldn't do while a process that is just being started still has a copy.
        let _ = self.lock.unlock();
    }
}

fn lock(data_dir: &Path) -> Result<File, EmbeddedError> {
    let path = data_dir.join("lock");
    let file = File::create(&path).trying("create", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(EmbeddedError::InUse { data_dir: data_dir.to_owned() })
        }
        Err(TryLockError::Error(error)) => Err(error).trying("lock", &path),
    }
}
