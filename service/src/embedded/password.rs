//! The password of the database user.

use super::error::{EmbeddedError, Trying};
use std::{
    fmt,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};
use uuid::Uuid;

/// A password. Not shown by `Debug`.
pub(super) struct Password(String);

impl Password {
    pub(super) fn generate() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }

    pub(super) fn read(file: &Path) -> Result<Self, EmbeddedError> {
        fs::read_to_string(file).map(Self).trying("read", file)
    }

    /// Writes to a file that only its owner can read, durably.
    pub(super) fn write(&self, file: &Path) -> Result<(), EmbeddedError> {
        OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(file)
            .and_then(|mut file| {
                file.write_all(self.0.as_bytes())?;
                file.sync_all()
            })
            .trying("write", file)
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_not_shown() {
        let password = Password::generate();
        assert!(!format!("{password:?}").contains(password.reveal()));
    }
}
