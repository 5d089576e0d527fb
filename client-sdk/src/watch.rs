//! Following a pool.

use keypool_proto::v1::{DevicePoolStatus, WatchPoolRequest, WatchPoolResponse};
use tokio::time::sleep;
use tonic::Streaming;

use crate::device::some_status;
use crate::retry::Retries;
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
        let retries = self.settings().retry.start_endless();
        PoolWatch { client: self.clone(), request, stream: None, retries }
    }
}

/// The statuses of a pool, as they change. See [`Client::watch_pool`].
#[derive(Debug)]
pub struct PoolWatch {
    client: Client,
    request: WatchPoolRequest,
    stream: Option<Streaming<WatchPoolResponse>>,
    retries: Retries,
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
                    self.retries = self.client.settings().retry.start_endless();
                    return Ok(status);
                }
                Err(error) => error,
            };
            self.stream = None;
            let Some(delay) = self.retries.after(&error) else {
                return Err(error);
            };
            tracing::debug!(%error, ?delay, "the watch of a pool broke off, watching again");
            sleep(delay).await;
        }
    }

    async fn try_next(&mut self) -> Result<DevicePoolStatus> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let answer = self.client.pools().watch_pool(self.request.clone()).await?;
                self.stream.insert(answer.into_inner())
            }
        };
        match stream.message().await? {
            Some(response) => some_status(response.pool_status),
            None => Err(Error::Transport("the stream ended".into())),
        }
    }
}
