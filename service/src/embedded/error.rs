//! What can keep the private PostgreSQL from running.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// What can keep the private PostgreSQL from running. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No PostgreSQL is installed, or none that is new enough.
    #[error(
        "no PostgreSQL 15 or later on this machine{found}. Install it:\n\
         \x20 Debian, Ubuntu   sudo apt-get install postgresql\n\
         \x20 Fedora, RHEL     sudo dnf install postgresql-server\n\
         \x20 Alpine           sudo apk add postgresql\n\
         \x20 Arch             sudo pacman -S postgresql\n\
         \x20 macOS            brew install postgresql@17\n\
         or use a database of your own with --database-url"
    )]
    NotFound {
        /// The versions that were found instead, as a clause of the message; may be empty.
        found: String,
    },

    /// The data was made by a major version of PostgreSQL that is not installed.
    #[error(
        "the data in {} was made by PostgreSQL {major}, which is not on this machine{found}. \
         Install that version, as with `sudo apt-get install postgresql-{major}`, or choose \
         another data directory",
        cluster.display()
    )]
    OtherMajor {
        /// The folder of the data.
        cluster: PathBuf,
        /// The major version that made it.
        major: u32,
        /// The versions that were found instead, as a clause of the message; may be empty.
        found: String,
    },

    /// The configured folder doesn't hold PostgreSQL's programs.
    #[error("no working initdb and postgres in {}", folder.display())]
    NoBinaries {
        /// The configured folder.
        folder: PathBuf,
    },

    /// Another keypool uses the data directory.
    #[error(
        "{} is in use by another keypool. Stop that one, or choose another data directory",
        data_dir.display()
    )]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
    },

    /// This is root, which PostgreSQL refuses to run as, and there is no account to use instead.
    #[error(
        "PostgreSQL doesn't run as root, and there is neither an account `postgres` nor `nobody`. \
         Run keypool as another user"
    )]
    NoAccount,

    /// This is root, and the account that PostgreSQL runs as can't reach the data.
    #[error(
        "PostgreSQL doesn't run as root but as `{account}`, which may not enter {}. \
         Choose another data directory, or run keypool as another user",
        folder.display()
    )]
    NoEntry {
        /// The account that PostgreSQL runs as.
        account: String,
        /// The folder that it may not enter.
        folder: PathBuf,
    },

    /// `initdb` failed.
    #[error("initdb failed:\n{output}")]
    Initdb {
        /// What it said.
        output: String,
    },

    /// PostgreSQL exits as soon as it is started.
    #[error("PostgreSQL doesn't start. Its log ends with:\n{log}")]
    Exits {
        /// The last lines of its log.
        log: String,
    },

    /// PostgreSQL was not ready in time.
    #[error("PostgreSQL was not ready within {limit:?}. Its log ends with:\n{log}")]
    Slow {
        /// How long it had.
        limit: Duration,
        /// The last lines of its log.
        log: String,
    },

    /// PostgreSQL runs but refuses keypool.
    #[error("the private PostgreSQL refuses keypool: {0}")]
    Refused(#[from] tokio_postgres::Error),

    /// The task that watches over PostgreSQL is gone, and with it the way to stop PostgreSQL.
    #[error("nothing watches over the private PostgreSQL any more")]
    Unsupervised(#[source] tokio::task::JoinError),

    /// A file or folder can't be used.
    #[error("cannot {action} {}: {error}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said; part of the message.
        error: io::Error,
    },
}

/// Adds to an I/O error what was tried.
pub(super) trait Trying<T> {
    fn trying(self, action: &'static str, path: &Path) -> Result<T, EmbeddedError>;
}

impl<T> Trying<T> for io::Result<T> {
    fn trying(self, action: &'static str, path: &Path) -> Result<T, EmbeddedError> {
        self.map_err(|error| EmbeddedError::File { action, path: path.to_owned(), error })
    }
}
