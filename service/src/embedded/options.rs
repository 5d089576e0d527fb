//! How the private PostgreSQL is to run.

use std::{env, path::PathBuf, time::Duration};

/// How the private PostgreSQL is to run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The folder that holds everything. Created where it doesn't exist.
    pub data_dir: PathBuf,
    /// The folder of `initdb` and `postgres`. `None` searches the machine for the newest.
    pub binaries: Option<PathBuf>,
    /// Settings of PostgreSQL, as in `("max_connections", "200")`.
    pub settings: Vec<(String, String)>,
    /// A port of 127.0.0.1 to listen on as well. `None` is for the unix socket only.
    pub port: Option<u16>,
    /// How long a start may take. Recovery after a crash can need a while.
    pub start_timeout: Duration,
}

impl Options {
    /// Durable settings, the newest PostgreSQL there is, and a minute to start.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            binaries: None,
            settings: Vec::new(),
            port: None,
            start_timeout: Duration::from_secs(60),
        }
    }
}

/// Where data belongs unless told otherwise: `$XDG_DATA_HOME/keypool`, else
/// `~/.local/share/keypool`, and for root `/var/lib/keypool`.
pub fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        // PostgreSQL runs as another account then, which can't enter root's home.
        return "/var/lib/keypool".into();
    }
    env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .unwrap_or_else(|| env::home_dir().unwrap_or_default().join(".local/share"))
        .join("keypool")
}
