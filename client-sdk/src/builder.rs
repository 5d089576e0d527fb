//! How a [`Client`] is made.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::client::Settings;
use crate::{Client, Error, Result, RetryPolicy};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than any sensible call, and short enough to be added to any clock.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes a [`Client`]. See [`Client::builder`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    settings: Settings,
}

impl ClientBuilder {
    pub(crate) fn new(endpoint: String) -> Self {
        let settings = Settings {
            timeout: DEFAULT_TIMEOUT,
            retry: RetryPolicy::default(),
            on_behalf_of: String::new(),
        };
        Self { endpoints: vec![endpoint], settings }
    }

    /// Adds another replica of the service. Calls are spread over all of them.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// How long a call may take, all its retries included. 10 seconds unless set, a day at most.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout.min(MAX_TIMEOUT);
        self
    }

    /// How failed calls are repeated.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = policy;
        self
    }

    /// Reserves, spends, releases and extends for this user: limits, ownership and audit apply to
    /// it. For back ends; see also [`Client::on_behalf_of`].
    #[must_use]
    pub fn on_behalf_of(mut self, user_id: impl Into<String>) -> Self {
        self.settings.on_behalf_of = user_id.into();
        self
    }

    /// Connects. With several endpoints the connections are made when they are needed.
    ///
    /// # Errors
    ///
    /// [`Error::Transport`] if an endpoint is no URI, or the only one can't be reached in time.
    pub async fn connect(self) -> Result<Client> {
        let endpoints = self.parse()?;
        let [endpoint] = endpoints.as_slice() else {
            return self.connect_lazy();
        };
        let channel = endpoint.connect().await.map_err(transport)?;
        Ok(self.connect_over(channel))
    }

    /// Connects with the first call. Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Transport`] if an endpoint is no URI.
    pub fn connect_lazy(self) -> Result<Client> {
        let endpoints = self.parse()?;
        let channel = match endpoints.as_slice() {
            [endpoint] => endpoint.connect_lazy(),
            _ => Channel::balance_list(endpoints.into_iter()),
        };
        Ok(self.connect_over(channel))
    }

    /// Uses a channel that the application made, for TLS or its own load balancing, in place of the
    /// endpoints.
    #[must_use]
    pub fn connect_over(self, channel: Channel) -> Client {
        Client::new(channel, self.settings)
    }

    fn parse(&self) -> Result<Vec<Endpoint>> {
        let parse = |uri: &String| Endpoint::from_shared(uri.clone()).map_err(transport);
        self.endpoints.iter().map(|uri| parse(uri).map(|endpoint| self.prepare(endpoint))).collect()
    }

    /// Pings notice a dead peer, which a silent watch would wait for for ever.
    fn prepare(&self, endpoint: Endpoint) -> Endpoint {
        endpoint
            .connect_timeout(self.settings.timeout)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
    }
}

fn transport(error: tonic::transport::Error) -> Error {
    Error::Transport(Box::new(error))
}
