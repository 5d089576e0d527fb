//! The PostgreSQL that is measured, and the rows in it.

pub(crate) mod fill;
mod url;

use crate::{
    child::guard::{Guard, postmaster},
    cli::BenchOptions,
    error::Error,
};
use keypool_service::{
    embedded::{EmbeddedPostgres, Options},
    store::{Connector, migrate},
};
use std::{env, fs::Permissions, os::unix::fs::PermissionsExt};
use tokio_postgres::{Client, Config, NoTls};

/// Settings of the private PostgreSQL: what a server of its own would have. Checkpoints are rare, as they are in the seconds
/// that a measurement lasts: right after one, each page's first change writes the whole page to the WAL. The segments of
/// the WAL are there before they are needed.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_buffers", "1GB"),
    ("checkpoint_timeout", "1h"),
    ("max_wal_size", "8GB"),
    ("min_wal_size", "2GB"),
];

/// What is measured on: a database with keypool's schema, and nothing else in it at first.
#[derive(Debug)]
pub(crate) struct Database {
    config: Config,
    url: String,
    control: Client,
    private: Option<Private>,
}

/// A PostgreSQL of this run's own. Fields are dropped in this order: the guard has the last word.
#[derive(Debug)]
struct Private {
    postgres: EmbeddedPostgres,
    guard: Guard,
}

impl Database {
    /// Starts a PostgreSQL in a temporary folder, or takes the one that was named, and makes keypool's schema.
    pub(crate) async fn open(options: &BenchOptions) -> Result<Self, Error> {
        let (config, private) = match &options.database_url {
            Some(url) => {
                let parsed = url.parse::<Config>();
                let config = parsed.map_err(|_shows_the_url| {
                    Error::Usage("--database-url: not a PostgreSQL URL".to_owned())
                })?;
                (config, None)
            }
            None => {
                let private = Private::start(options).await?;
                (private.postgres.config(), Some(private))
            }
        };
        let url = match &options.database_url {
            Some(url) => url.clone(),
            None => url::of(&config)?,
        };
        let control = connect(&config).await?;
        let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
        let tables: i64 = control.query_one(tables, &[]).await?.try_get(0)?;
        if tables > 0 {
            return Err(Error::Usage("--database-url: the database is not empty".to_owned()));
        }
        migrate(&Connector::plain(config.clone()), None).await?;
        Ok(Self { config, url, control, private })
    }

    /// How to connect.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// How to connect, for the service.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A connection for what is not measured.
    pub(crate) fn control(&self) -> &Client {
        &self.control
    }

    /// The main process of the private PostgreSQL.
    pub(crate) fn pid(&self) -> Option<u32> {
        let pid = postmaster(self.private.as_ref()?.postgres.data_dir())?;
        Some(pid.as_raw_nonzero().get().cast_unsigned())
    }

    /// Writes what is due to be written, so that it is not written while something is measured.
    pub(crate) async fn checkpoint(&self) -> Result<(), Error> {
        Ok(self.control.batch_execute("CHECKPOINT").await?)
    }

    /// What was set, of the settings that matter to speed.
    pub(crate) async fn settings(&self) -> Result<String, Error> {
        let changed = "SELECT name || '=' || current_setting(name) FROM pg_settings
                       WHERE setting IS DISTINCT FROM boot_val AND name <> 'data_directory_mode'
                         AND (category ~ '^(Resource|Write-Ahead|Query Tuning|Autovacuum|Lock)'
                              OR name IN ('max_connections', 'data_checksums'))
                       ORDER BY name";
        let rows = self.control.query(changed, &[]).await?;
        let settings: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        Ok(settings?.join(", "))
    }

    /// The size of the database, in bytes.
    pub(crate) async fn size(&self) -> Result<i64, Error> {
        let size = "SELECT pg_database_size(current_database())";
        Ok(self.control.query_one(size, &[]).await?.try_get(0)?)
    }

    /// Stops the private PostgreSQL and removes it.
    pub(crate) async fn close(self) -> Result<(), Error> {
        if let Some(Private { postgres, guard }) = self.private {
            postgres.stop().await?;
            tokio::task::spawn_blocking(move || drop(guard)).await?;
        }
        Ok(())
    }
}

impl Private {
    /// Starts it.
    async fn start(options: &BenchOptions) -> Result<Self, Error> {
        let parent = options.data_dir.clone().unwrap_or_else(env::temp_dir);
        let folder = tempfile::Builder::new()
            .prefix("keypool-bench-")
            .permissions(Permissions::from_mode(0o711)) // root's PostgreSQL is another account's
            .tempdir_in(&parent)
            .map_err(Error::io(format!("create a folder in {}", parent.display())))?
            .keep();
        let guard = Guard::over(&folder)?;
        let mut how = Options::new(&folder);
        how.binaries.clone_from(&options.postgres_bin_dir);
        how.settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        how.settings.extend(options.postgres_setting.iter().cloned());
        Ok(Self { postgres: EmbeddedPostgres::start(how).await?, guard })
    }
}

/// A client whose connection ends with it.
pub(crate) async fn connect(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
