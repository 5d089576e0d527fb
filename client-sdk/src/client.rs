//! The connection, and what all calls have in common.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use keypool_proto::v1::audit_service_client::AuditServiceClient;
use keypool_proto::v1::key_package_service_client::KeyPackageServiceClient;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::{ClientBuilder, Error, Failure, Result, RetryPolicy};

/// The variable that [`Client::from_env`] reads.
const ENDPOINT_VARIABLE: &str = "KEYPOOL_ENDPOINT";
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";

/// A hundred packages of 64 KiB, and some air.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// A connection to the keypool service. Cheap to clone: all clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    settings: Arc<Settings>,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) on_behalf_of: String,
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
    /// [`Error::Transport`] if it can't be reached.
    pub async fn from_env() -> Result<Self> {
        let endpoint = std::env::var(ENDPOINT_VARIABLE);
        Self::builder(endpoint.unwrap_or_else(|_| DEFAULT_ENDPOINT.to_owned())).connect().await
    }

    /// The same connection, acting for this user. See [`ClientBuilder::on_behalf_of`].
    #[must_use]
    pub fn on_behalf_of(&self, user_id: impl Into<String>) -> Self {
        let settings = Settings { on_behalf_of: user_id.into(), ..(*self.settings).clone() };
        Self::new(self.channel.clone(), settings)
    }

    pub(crate) fn new(channel: Channel, settings: Settings) -> Self {
        Self { channel, settings: Arc::new(settings) }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn pools(&self) -> KeyPackageServiceClient<Channel> {
        KeyPackageServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Makes a call, and repeats it word for word for as long as that helps and the deadline
    /// allows.
    pub(crate) async fn call<Req, Res, Method, Answer>(
        &self,
        request: Req,
        method: Method,
    ) -> Result<Res>
    where
        Req: Clone,
        Method: Fn(Self, Request<Req>) -> Answer,
        Answer: Future<Output = Result<Response<Res>, Status>>,
    {
        let deadline = Instant::now() + self.settings.timeout;
        let mut retries = self.settings.retry.start();
        loop {
            let mut attempt = Request::new(request.clone());
            attempt.set_timeout(deadline.saturating_duration_since(Instant::now()));
            let error = match timeout_at(deadline, method(self.clone(), attempt)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => Error::from(status),
                Err(_) => self.expired(),
            };
            match retries.after(&error) {
                Some(delay) if delay < deadline.saturating_duration_since(Instant::now()) => {
                    tracing::debug!(%error, ?delay, "keypool call failed, trying again");
                    sleep(delay).await;
                }
                _ => return Err(error),
            }
        }
    }

    fn expired(&self) -> Error {
        let message = format!("no answer within {:?}", self.settings.timeout);
        Error::DeadlineExceeded(Box::new(Failure::new(Code::DeadlineExceeded, message)))
    }
}
