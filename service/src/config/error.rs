use super::DatabaseUrlError;
use std::{io, path::PathBuf};

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file, variable or flag can't be read, is of the wrong type, or is unknown.
    #[error("{0}")]
    Unreadable(Box<figment::Error>),
    /// The database URL can't be used.
    #[error("database_url: {0}")]
    DatabaseUrl(#[from] DatabaseUrlError),
    /// The file with the database's password can't be used.
    #[error("database_password_file: can't read a password from {}", .path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Values contradict each other or their limits: what is wrong, one sentence for each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}
