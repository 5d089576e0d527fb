//! What calls are made with.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::TokenCache;
use crate::throttle::Throttle;
use crate::transport::{Connection, Replicas};
use crate::{ClientBuilder, Result, RetryPolicy};

/// The variable that [`Client::from_env`] reads.
const ENDPOINT_VARIABLE: &str = "KEYPOOL_ENDPOINT";
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";

/// A connection to the keypool service. Cheap to clone: all clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    connection: Arc<Connection>,
    settings: Arc<Settings>,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) on_behalf_of: String,
    pub(crate) tokens: Option<Arc<TokenCache>>,
}

impl Client {
    /// A builder for a client of the service at `endpoint`, such as `http://127.0.0.1:50051`.
    pub fn builder(endpoint: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(endpoint.into())
    }

    /// Connects to the endpoint in the variable `KEYPOOL_ENDPOINT`, or else to
    /// `http://127.0.0.1:50051`.
    ///
    /// # Errors
    ///
    /// [`Error::Transport`](crate::Error::Transport) if it can't be reached, and
    /// [`Error::Configuration`](crate::Error::Configuration) if it is none.
    pub async fn from_env() -> Result<Self> {
        let endpoint = std::env::var(ENDPOINT_VARIABLE);
        Self::builder(endpoint.unwrap_or_else(|_| DEFAULT_ENDPOINT.to_owned())).connect().await
    }

    /// The same connection, acting for this user. See [`ClientBuilder::on_behalf_of`].
    #[must_use]
    pub fn on_behalf_of(&self, user_id: impl Into<String>) -> Self {
        let settings = Settings { on_behalf_of: user_id.into(), ..(*self.settings).clone() };
        Self { connection: self.connection.clone(), settings: Arc::new(settings) }
    }

    pub(crate) fn new(connection: Connection, settings: Settings) -> Self {
        Self { connection: Arc::new(connection), settings: Arc::new(settings) }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn replicas(&self) -> &Replicas {
        self.connection.replicas()
    }

    pub(crate) fn throttle(&self) -> &Throttle {
        self.connection.throttle()
    }

    pub(crate) fn tokens(&self) -> Option<&Arc<TokenCache>> {
        self.settings.tokens.as_ref()
    }
}
