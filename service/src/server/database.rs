//! The database that the service runs on.

use super::{ServerError, database_tls::client_config};
use crate::{
    clock::Clock,
    config::Config,
    embedded::{self, EmbeddedPostgres},
    store::{
        Connector, Purpose, SchemaState, Store, StoreError, grant, migrate, needs_tls, schema_state,
    },
};
use std::path::Path;

/// The least version of PostgreSQL.
pub(super) const MIN_POSTGRES: i32 = 15;

/// The database that a configuration names: an existing one, or a private one that was started for it.
#[derive(Debug)]
pub struct Database {
    connector: Connector,
    runtime_role: Option<String>,
    embedded: Option<EmbeddedPostgres>,
}

impl Database {
    /// Finds or starts the database.
    ///
    /// # Errors
    /// If the private PostgreSQL can't be started, or certificates for TLS can't be used.
    pub async fn open(config: &Config) -> Result<Self, ServerError> {
        if let Some(url) = &config.database_url {
            let url = url.parse()?;
            let connector = if needs_tls(&url) {
                Connector::tls(url, client_config(&config.database_tls)?)
            } else {
                Connector::plain(url)
            };
            let runtime_role = config.runtime_role.clone();
            return Ok(Self { connector, runtime_role, embedded: None });
        }
        let data_dir = config.data_dir.clone().unwrap_or_else(embedded::default_data_dir);
        let mut options = embedded::Options::new(data_dir);
        options.binaries.clone_from(&config.postgres_bin_dir);
        let embedded = EmbeddedPostgres::start(options).await?;
        let connector = Connector::plain(embedded.config());
        Ok(Self { connector, runtime_role: None, embedded: Some(embedded) })
    }

    /// How to connect.
    #[must_use]
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Brings the schema to the newest version, gives the runtime role its rights, and returns what the schema was before. A
    /// newer one stays as it is.
    ///
    /// # Errors
    /// If the database can't be reached or refuses.
    pub async fn migrate(&self) -> Result<SchemaState, ServerError> {
        let (mut client, connection) =
            self.connector.connect().await.map_err(|error| self.cannot_connect(error))?;
        let connection = tokio::spawn(connection);
        self.connector.pin(&client, Purpose::Migration).await?;
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

    fn cannot_connect(&self, error: tokio_postgres::Error) -> ServerError {
        // An answer of PostgreSQL came by TLS.
        if self.connector.is_tls() && error.as_db_error().is_none() {
            ServerError::ConnectByTls(error)
        } else {
            ServerError::Connect(error)
        }
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

/// Fails unless the schema is one that serves this version.
pub(crate) async fn require_known_schema(
    store: &Store,
    clock: &dyn Clock,
) -> Result<(), ServerError> {
    match store.check(clock.now()).await?.schema {
        SchemaState::Current | SchemaState::Expanded => Ok(()),
        SchemaState::Behind { found, known } => Err(ServerError::OldSchema { found, known }),
        SchemaState::Ahead { found, known } => Err(ServerError::NewSchema { found, known }),
    }
}
