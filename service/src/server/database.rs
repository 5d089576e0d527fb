//! The database that the service runs on.

use super::ServerError;
use crate::{
    clock::Clock,
    config::Config,
    embedded::{self, EmbeddedPostgres},
    store::{SchemaState, Store, StoreError, grant, migrate, schema_state},
};
use std::path::Path;
use tokio_postgres::NoTls;

/// The least version of PostgreSQL.
pub(super) const MIN_POSTGRES: i32 = 15;

/// The database that a configuration names: an existing one, or a private one that was started for it.
#[derive(Debug)]
pub struct Database {
    config: tokio_postgres::Config,
    runtime_role: Option<String>,
    embedded: Option<EmbeddedPostgres>,
}

impl Database {
    /// Finds or starts the database.
    ///
    /// # Errors
    /// If the private PostgreSQL can't be started.
    pub async fn open(config: &Config) -> Result<Self, ServerError> {
        if let Some(url) = &config.database_url {
            let runtime_role = config.runtime_role.clone();
            return Ok(Self { config: url.parse()?, runtime_role, embedded: None });
        }
        let data_dir = config.data_dir.clone().unwrap_or_else(embedded::default_data_dir);
        let mut options = embedded::Options::new(data_dir);
        options.binaries.clone_from(&config.postgres_bin_dir);
        let embedded = EmbeddedPostgres::start(options).await?;
        Ok(Self { config: embedded.config(), runtime_role: None, embedded: Some(embedded) })
    }

    /// How to connect.
    #[must_use]
    pub fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// Brings the schema to the newest version, gives the runtime role its rights, and returns what the schema was before. A
    /// newer one stays as it is.
    ///
    /// # Errors
    /// If the database can't be reached or refuses.
    pub async fn migrate(&self) -> Result<SchemaState, ServerError> {
        let (mut client, connection) =
            self.config.connect(NoTls).await.map_err(ServerError::Connect)?;
        let connection = tokio::spawn(connection);
        let version: i32 = client
            .query_one("SELECT current_setting('server_version_num')::int / 10000", &[])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(StoreError::from)?;
        if version < MIN_POSTGRES {
            return Err(ServerError::OldPostgres { found: version });
        }
        // Only what is behind: a role without the right to change the schema may still serve.
        let before = schema_state(&client).await?;
        if matches!(before, SchemaState::Behind { .. }) {
            migrate(&mut client).await?;
        }
        if let Some(role) = &self.runtime_role {
            grant(&client, role)
                .await
                .map_err(|source| ServerError::Grant { role: role.clone(), source })?;
        }
        drop(client);
        connection.await.ok();
        Ok(before)
    }

    /// Where the private PostgreSQL keeps its data, if it is one.
    #[must_use]
    pub fn data_dir(&self) -> Option<&Path> {
        self.embedded.as_ref().map(EmbeddedPostgres::data_dir)
    }

    /// Stops the private PostgreSQL, if it is one.
    ///
    /// # Errors
    /// If it doesn't stop.
    pub async fn close(self) -> Result<(), ServerError> {
        if let Some(embedded) = self.embedded {
            embedded.stop().await?;
        }
        Ok(())
    }
}

/// Fails unless the schema is the one that this version knows.
pub(crate) async fn require_known_schema(
    store: &Store,
    clock: &dyn Clock,
) -> Result<(), ServerError> {
    match store.check(clock.now()).await?.schema {
        SchemaState::Current => Ok(()),
        SchemaState::Behind { found, known } => Err(ServerError::OldSchema { found, known }),
        SchemaState::Ahead { found, known } => Err(ServerError::NewSchema { found, known }),
    }
}
