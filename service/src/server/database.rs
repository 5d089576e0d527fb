//! The database that the service runs on.

use super::{ServerError, credentials::connector};
use crate::{
    clock::Clock,
    config::Config,
    embedded::{self, EmbeddedPostgres},
    store::{Connector, SchemaState, Store, StoreError, migrate},
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
    /// If the private PostgreSQL can't be started, or the files with password and certificates can't be used.
    pub async fn open(config: &Config) -> Result<Self, ServerError> {
        if let Some(url) = &config.database_url {
            let connector = connector(config, url.parse()?)?;
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
    /// newer one that serves this version stays as it is.
    ///
    /// # Errors
    /// If the database can't be reached or refuses, or its schema is not keypool's or too new.
    pub async fn migrate(&self) -> Result<SchemaState, ServerError> {
        let (client, connection) =
            self.connector.connect().await.map_err(|error| self.cannot_connect(error))?;
        let connection = tokio::spawn(connection);
        let version: i32 = client
            .query_one("SELECT current_setting('server_version_num')::int / 10000", &[])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(StoreError::from)?;
        if version < MIN_POSTGRES {
            return Err(ServerError::OldPostgres { found: version });
        }
        drop(client);
        connection.await.ok();
        Ok(migrate(&self.connector, self.runtime_role.as_deref()).await?)
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
    let schema = store.check(clock.now()).await?.schema;
    if schema.unserved().is_none() { Ok(()) } else { Err(ServerError::Schema(schema)) }
}
