//! Following a pool.

use keypool_proto::v1::{DevicePoolStatus, WatchPoolRequest, WatchPoolResponse};
use tokio::time::sleep;
use tonic::Streaming;
use tracing::Instrument;

use crate::call::Tries;
use crate::device::some_status;
use crate::method::Method;
use crate::observe::Observed;
use crate::{Client, Error, Result};

impl Client {
    /// Follows a device's pool: its status now, and again whenever its health changed, the
    /// last-resort package was used, or a package was spent.
    ///
    /// ```no_run
    /// # async fn example(client: keypool_client::Client) -> keypool_client::Result<()> {
    /// let mut watch = client.watch_pool("alice", "laptop");
    /// loop {
    ///     let status = watch.next().await?;
    ///     println!("{:?}", status.health());
    /// }
    /// # }
    /// ```
    pub fn watch_pool(
        &self,
        user_id: impl Into<String>,
        device_id: impl Into<String>,
    ) -> PoolWatch {
        let request = WatchPoolRequest { user_id: user_id.into(), device_id: device_id.into() };
        let tries = Tries::start(self, WatchPoolRequest::REPEATED);
        PoolWatch { request, stream: None, tries }
    }
}

/// The statuses of a pool, as they change. See [`Client::watch_pool`].
#[derive(Debug)]
pub struct PoolWatch {
    request: WatchPoolRequest,
    stream: Option<Streaming<WatchPoolResponse>>,
    tries: Tries,
}

impl PoolWatch {
    /// The next status. Waits as long as nothing changes, and connects again by itself when the
    /// connection breaks or the service stops; the first status after that tells what changed
    /// meanwhile. May be cancelled at any time without losing a status.
    ///
    /// # Errors
    ///
    /// Only what another connection would not mend, such as [`Error::PermissionDenied`].
    pub async fn next(&mut self) -> Result<DevicePoolStatus> {
        loop {
            let error = match self.try_next().await {
                Ok(status) => {
                    self.tries.succeeded();
                    return Ok(status);
                }
                Err(error) => error,
            };
            self.stream = None;
            sleep(self.tries.after(error).await?).await;
        }
    }

    async fn try_next(&mut self) -> Result<DevicePoolStatus> {
        if self.stream.is_none() {
            self.stream = Some(self.open().await?);
        }
        let Some(stream) = &mut self.stream else {
            return Err(ended());
        };
        match stream.message().await? {
            Some(response) => some_status(response.pool_status),
            None => Err(ended()),
        }
    }

    /// Each opening is a call with a span of its own; the stream may last for months.
    async fn open(&mut self) -> Result<Streaming<WatchPoolResponse>> {
        let mut observed = Observed::start(&self.request);
        observed.tried();
        let stream = self.tries.send(self.request.clone()).instrument(observed.span()).await;
        observed.ended(stream.as_ref().err());
        stream
    }
}

fn ended() -> Error {
    Error::Transport("the stream ended".into())
}
