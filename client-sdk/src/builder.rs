//! How a [`Client`] is made.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::auth::{TokenCache, TokenProvider};
use crate::client::Settings;
#[cfg(feature = "tls")]
use crate::transport::TlsConfig;
use crate::transport::{Connection, Dial, EndpointOptions, Named};
use crate::{Client, Error, Result, RetryPolicy};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than any sensible call, and short enough to be added to any clock.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A name server is asked no more often than this.
const MIN_RESOLVE_INTERVAL: Duration = Duration::from_millis(100);

/// Makes a [`Client`]. See [`Client::builder`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    settings: Settings,
    connect_timeout: Option<Duration>,
    resolve_every: Option<Duration>,
    dial: Dial,
    plain_text_tokens: bool,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
}

impl ClientBuilder {
    pub(crate) fn new(endpoint: String) -> Self {
        let settings = Settings {
            timeout: DEFAULT_TIMEOUT,
            retry: RetryPolicy::default(),
            on_behalf_of: String::new(),
            tokens: None,
        };
        Self {
            endpoints: vec![endpoint],
            settings,
            connect_timeout: None,
            resolve_every: None,
            dial: Dial::default(),
            plain_text_tokens: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Adds another replica of the service. Calls go to all of them in turn; one that fails is tried
    /// again on another, and a replica that is down is left alone for up to 30 seconds.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// Looks the endpoints' host names up now, and again each time this much has passed (100 ms at
    /// least): every address of a name is a replica, as with [`endpoint`](Self::endpoint). For names
    /// with several addresses that change, such as a headless service in Kubernetes. While a name
    /// can't be looked up, its last addresses stay in use.
    #[must_use]
    pub fn resolve_every(mut self, interval: Duration) -> Self {
        self.resolve_every = Some(interval.max(MIN_RESOLVE_INTERVAL));
        self
    }

    /// How long a call may take, all its retries included. 10 seconds unless set, a day at most.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout.min(MAX_TIMEOUT);
        self
    }

    /// How long making a connection may take, and as long again for its TLS handshake. Unless set,
    /// the only endpoint gets all of a call's time, and one of several a quarter of it.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
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

    /// Sends a bearer token of this provider with each call: a [`Token`](crate::Token) that never
    /// changes, or a [`TokenProvider`] of the application's own.
    ///
    /// All endpoints must then be `https`, a Unix socket, `localhost` or a loopback address, unless
    /// [`plain_text_tokens`](Self::plain_text_tokens) allows others.
    #[must_use]
    pub fn token_provider(mut self, provider: impl TokenProvider + 'static) -> Self {
        self.settings.tokens = Some(Arc::new(TokenCache::new(provider)));
        self
    }

    /// Sends tokens to `http` endpoints on other hosts, too. Whoever reads such a connection reads the
    /// tokens: only for networks where something else encrypts, such as a service mesh.
    #[must_use]
    pub fn plain_text_tokens(mut self) -> Self {
        self.plain_text_tokens = true;
        self
    }

    /// Whom to trust and who to be, on all endpoints, which must be `https`.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    #[must_use]
    pub fn tls(mut self, config: TlsConfig) -> Self {
        self.tls = Some(config);
        self
    }

    /// Connects. With several endpoints, or [`resolve_every`](Self::resolve_every), the connections
    /// are made when they are needed.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] as for [`connect_lazy`](Self::connect_lazy), and
    /// [`Error::Transport`] if the only endpoint can't be reached in time.
    pub async fn connect(self) -> Result<Client> {
        let (endpoints, options) = self.parse()?;
        match (endpoints.as_slice(), self.resolve_every) {
            ([only], None) => {
                let connection = Connection::now(&only.endpoint, options).await;
                let connection = connection.map_err(|error| Error::Transport(Box::new(error)))?;
                Ok(Client::new(connection, self.settings))
            }
            _ => self.connect_lazy(),
        }
    }

    /// Connects with the first call. Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if an endpoint is no URI, the TLS settings can't be used, or tokens would
    /// leave the host in plain text.
    pub fn connect_lazy(self) -> Result<Client> {
        let (endpoints, options) = self.parse()?;
        let connection = match self.resolve_every {
            Some(every) => Connection::following(endpoints, options, every),
            None => Connection::to(endpoints, options),
        };
        Ok(Client::new(connection, self.settings))
    }

    /// Uses a channel that the application made, with its own TLS or load balancing, in place of the
    /// endpoints and of what is set for them. Tokens go over it, whether it encrypts them or not.
    #[must_use]
    pub fn connect_over(self, channel: Channel) -> Client {
        Client::new(Connection::over(channel), self.settings)
    }

    /// Makes the channels of [`connect_lazy`](Self::connect_lazy) like this: for simulated networks.
    /// Retries, deadlines and the choice of a replica stay the client's.
    #[doc(hidden)]
    #[must_use]
    pub fn dial(mut self, connect: impl Fn(Endpoint) -> Channel + Send + Sync + 'static) -> Self {
        self.dial = Dial::with(connect);
        self
    }

    fn parse(&self) -> Result<(Vec<Named>, EndpointOptions)> {
        let several = self.endpoints.len() > 1 || self.resolve_every.is_some();
        let share = if several { self.settings.timeout / 4 } else { self.settings.timeout };
        let options = EndpointOptions {
            connect_timeout: self.connect_timeout.unwrap_or(share),
            dial: self.dial.clone(),
            keeps_tokens: self.settings.tokens.is_some() && !self.plain_text_tokens,
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
        };
        let endpoints = self.endpoints.iter().map(|name| options.parse(name));
        Ok((endpoints.collect::<Result<_, _>>()?, options))
    }
}
