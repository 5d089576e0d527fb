//! What PostgreSQL writes.

use super::error::{EmbeddedError, Trying};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A log that is longer starts anew.
const LONGEST: u64 = 10 * 1024 * 1024;

/// How much of its end is looked at, in bytes and in lines.
const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 10;

/// The file of PostgreSQL's standard output and error.
#[derive(Debug)]
pub(super) struct ServerLog(PathBuf);

impl ServerLog {
    pub(super) fn within(data_dir: &Path) -> Self {
        Self(data_dir.join("postgres.log"))
    }

    /// Opens the file for appending.
    pub(super) fn open(&self) -> Result<File, EmbeddedError> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.0)
            .and_then(|file| {
                if file.metadata()?.len() > LONGEST {
                    file.set_len(0)?;
                }
                Ok(file)
            })
            .trying("open", &self.0)
    }

    /// The last lines, as far as they can be read.
    pub(super) fn tail(&self) -> String {
        let end = self.end().unwrap_or_default();
        let text = String::from_utf8_lossy(&end);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    fn end(&self) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.0)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fmt::Write, fs};

    #[test]
    fn shows_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let log = ServerLog::within(folder.path());
        assert_eq!(log.tail(), "");

        let text = (0..5_000).fold(String::new(), |mut text, line| {
            writeln!(text, "line {line}").unwrap();
            text
        });
        fs::write(&log.0, text).unwrap();
        let tail = log.tail();
        assert!(tail.starts_with("line 4990\n") && tail.ends_with("line 4999"), "{tail}");
    }

    #[test]
    fn starts_anew_when_long() {
        let folder = tempfile::tempdir().unwrap();
        let log = ServerLog::within(folder.path());
        log.open().unwrap().set_len(LONGEST).unwrap();
        assert_eq!(log.open().unwrap().metadata().unwrap().len(), LONGEST);
        log.open().unwrap().set_len(LONGEST + 1).unwrap();
        assert_eq!(log.open().unwrap().metadata().unwrap().len(), 0);
    }
}
