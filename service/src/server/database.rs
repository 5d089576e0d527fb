//! The database that the service runs on.

use super::{ServerError, credentials::connector};
use crate::{
    config::Config,
    embedded::{self, EmbeddedPostgres},
    store::{Connector, Fault, Purpose, SchemaState, Store, migrate, requirements::faults},
};
use std::path::Path;
use tokio::time::timeout;

/// The database that a configuration names: an existing one, or a private one that was started for it.
#[derive(Debug)]
pub struct Database {
    access: Access,
    embedded: Option<EmbeddedPostgres>,
}

/// How to get at a database, and who uses it.
#[derive(Debug, Clone)]
pub(super) struct Access {
    connector: Connector,
    runtime_role: Option<String>,
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
            return Ok(Self { access: Access { connector, runtime_role }, embedded: None });
        }
        let data_dir = config.data_dir.clone().unwrap_or_else(embedded::default_data_dir);
        let mut options = embedded::Options::new(data_dir);
        options.binaries.clone_from(&config.postgres_bin_dir);
        let embedded = EmbeddedPostgres::start(options).await?;
        let connector = Connector::plain(embedded.config());
        let access = Access { connector, runtime_role: None };
        Ok(Self { access, embedded: Some(embedded) })
    }

    /// How to connect.
    #[must_use]
    pub fn connector(&self) -> &Connector {
        &self.access.connector
    }

    /// How to get at it, for tasks.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// Brings the schema to the newest version, gives the runtime role its rights, and returns what the schema was before. A
    /// newer one that serves this version stays as it is.
    ///
    /// # Errors
    /// If the database can't be reached, is not one to serve on, or refuses; or if its schema is not keypool's or too new.
    pub async fn migrate(&self) -> Result<SchemaState, ServerError> {
        self.access.migrate().await
    }

    /// Waits until the private PostgreSQL is kept running no more. None if there is no private one.
    pub(super) fn ended(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.embedded.as_ref().map(EmbeddedPostgres::ended)
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

impl Access {
    /// Makes sure that the database can be reached, and is one to serve on.
    pub(super) async fn inspect(&self) -> Result<(), ServerError> {
        let faults = async {
            let (client, connection) =
                self.connector.connect().await.map_err(|error| self.cannot_connect(error))?;
            tokio::spawn(connection);
            self.connector.pin(&client, Purpose::Pool).await?;
            Ok::<_, ServerError>(faults(&client).await?)
        };
        let faults = timeout(self.connector.patience(), faults).await;
        match faults.map_err(|_elapsed| ServerError::NoAnswer)??.into_iter().next() {
            None => Ok(()),
            Some(fault) => Err(ServerError::Unfit(fault)),
        }
    }

    /// See [`Database::migrate`].
    pub(super) async fn migrate(&self) -> Result<SchemaState, ServerError> {
        self.inspect().await?;
        Ok(migrate(&self.connector, self.runtime_role.as_deref()).await?)
    }

    fn cannot_connect(&self, error: tokio_postgres::Error) -> ServerError {
        if let Some(fault) = Fault::of(&error) {
            return ServerError::Unfit(fault);
        }
        // An answer of PostgreSQL came by TLS.
        if self.connector.is_tls() && error.as_db_error().is_none() {
            ServerError::ConnectByTls(error)
        } else {
            ServerError::Connect(error)
        }
    }
}

/// Fails unless the schema is one that serves this version.
pub(crate) async fn require_known_schema(store: &Store) -> Result<(), ServerError> {
    let schema = store.check().await?.schema;
    if schema.unserved().is_none() { Ok(()) } else { Err(ServerError::Schema(schema)) }
}
