//! Files that only their owner can read.

#[cfg(unix)]
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// What SQLite adds to the name of a database for the files beside it. It gives new ones the permissions
/// of the database.
#[cfg(unix)]
const SIBLINGS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

#[cfg(unix)]
const OWNER_ONLY: u32 = 0o600;

/// Creates the file for its owner alone (mode 0600) if it does not exist. Takes the rights of others
/// away from an existing one, and from the files that SQLite has beside it.
#[cfg(unix)]
pub(super) fn prepare(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    // An existing file is not opened: to close it again would take the locks of this process's other
    // connections away.
    match OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(_) | Err(_) => {}
    }
    // SQLite follows links, too.
    let path = fs::canonicalize(path)?;
    for sibling in SIBLINGS {
        let mut name = path.as_os_str().to_owned();
        name.push(sibling);
        narrow(Path::new(&name))?;
    }
    Ok(())
}

#[cfg(unix)]
fn narrow(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mut permissions = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions(),
        // Gone, as when another process has closed the database, or never there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if permissions.mode() & 0o777 & !OWNER_ONLY == 0 {
        return Ok(());
    }
    permissions.set_mode(permissions.mode() & OWNER_ONLY);
    match fs::set_permissions(path, permissions) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        narrowed => narrowed,
    }
}

/// Elsewhere, the folder decides who can read its files.
#[cfg(not(unix))]
pub(super) fn prepare(_path: &Path) -> io::Result<()> {
    Ok(())
}
