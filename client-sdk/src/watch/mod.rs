//! Following a pool.

mod polling;

use keypool_proto::v1::{DevicePoolStatus, ErrorReason, WatchPoolRequest, WatchPoolResponse};
use tokio::time::sleep;
use tonic::Streaming;
use tracing::Instrument;

use crate::call::Tries;
use crate::device::status_of;
use crate::method::Method;
use crate::observe::Observed;
use crate::{Client, Error, Result};
use polling::Polling;

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
        PoolWatch { request, source: Source::None, told: None, tries }
    }
}

/// The statuses of a pool, as they change. See [`Client::watch_pool`].
#[derive(Debug)]
pub struct PoolWatch {
    request: WatchPoolRequest,
    source: Source,
    /// The status that was returned last.
    told: Option<DevicePoolStatus>,
    tries: Tries,
}

/// Where statuses come from.
#[derive(Debug)]
enum Source {
    None,
    /// The stream, and whether it has brought a status.
    Stream(Streaming<WatchPoolResponse>, bool),
    /// There is no room for another stream.
    Polling(Polling),
}

impl PoolWatch {
    /// The next status. Waits as long as nothing changes, and connects again by itself when the
    /// connection breaks or the service ends the stream; what changed meanwhile is told then. May be
    /// cancelled at any time without losing a status.
    ///
    /// Where the service has no room for another watch, the status is asked for now and then (every
    /// 30 to 45 seconds, as the service wants it) until there is.
    ///
    /// # Errors
    ///
    /// Only what another connection would not mend, such as [`Error::PermissionDenied`].
    pub async fn next(&mut self) -> Result<DevicePoolStatus> {
        loop {
            match self.try_next().await {
                Ok(Some(status)) => {
                    self.told = Some(status.clone());
                    return Ok(status);
                }
                Ok(None) => {}
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// The next status. None if that is no news, or what comes next comes from elsewhere.
    async fn try_next(&mut self) -> Result<Option<DevicePoolStatus>> {
        match &mut self.source {
            Source::None => {
                self.source = Source::Stream(self.open().await?, false);
                Ok(None)
            }
            Source::Stream(stream, has_begun) => {
                let response = stream.message().await?.ok_or_else(ended)?;
                let WatchPoolRequest { user_id, device_id } = &self.request;
                let status = status_of(user_id, device_id, response.pool_status)?;
                self.tries.succeeded();
                // The first one repeats what an earlier stream told if nothing has changed since.
                let is_news = *has_begun || self.told.as_ref() != Some(&status);
                *has_begun = true;
                Ok(is_news.then_some(status))
            }
            Source::Polling(polling) => match polling.next(self.tries.client()).await? {
                Some(status) => {
                    Ok(Some(status).filter(|status| self.told.as_ref() != Some(status)))
                }
                None => {
                    self.source = Source::None;
                    Ok(None)
                }
            },
        }
    }

    /// Waits until the next try, or returns the error that ends the watch.
    async fn recover(&mut self, error: Error) -> Result<()> {
        let source = std::mem::replace(&mut self.source, Source::None);
        match error.reason() {
            Some(ErrorReason::TooManyWatches) => {
                if !self.has_room_elsewhere(&error) {
                    tracing::debug!(%error, "no room for a watch: the pool is polled");
                    let polling = Polling::start(self.request.clone(), error.retry_after());
                    self.source = Source::Polling(polling);
                }
            }
            // The replica or the connection ends, not because something is wrong with it.
            Some(ErrorReason::ShuttingDown) if matches!(source, Source::Stream(_, true)) => {
                self.tries.moves_on();
                sleep(error.retry_after().unwrap_or_default()).await;
            }
            _ => sleep(self.tries.after(error).await?).await,
        }
        Ok(())
    }

    /// Whether another connection or another replica may have room for a watch that was refused.
    fn has_room_elsewhere(&mut self, refusal: &Error) -> bool {
        let limit = refusal.failure().and_then(|failure| failure.metadata.get("limit"));
        match limit.map(String::as_str) {
            Some("connection") => self.tries.is_crowded(),
            _ => self.tries.moves_on(),
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
