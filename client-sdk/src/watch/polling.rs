//! What takes the place of a watch where there is no room for one.

use std::time::Duration;

use keypool_proto::v1::{DevicePoolStatus, GetPoolStatusRequest, PoolHealth, WatchPoolRequest};
use tokio::time::{Instant, sleep_until};

use crate::device::only_status_of;
use crate::{Client, Error, Result};

/// When to try to watch again if the service does not say, at the soonest and at the latest.
const WATCH_AGAIN: Duration = Duration::from_secs(60);
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60 * 60);

/// Asks for a pool's status at once, then twice in the time after which the service lets a watch be
/// tried again. The service spreads that time, and so the questions of its clients.
#[derive(Debug)]
pub(super) struct Polling {
    request: WatchPoolRequest,
    every: Duration,
    next: Instant,
    watch_again: Instant,
}

impl Polling {
    pub(super) fn start(request: WatchPoolRequest, retry_after: Option<Duration>) -> Self {
        let patience = retry_after.unwrap_or(WATCH_AGAIN).clamp(SOONEST, LATEST);
        let now = Instant::now();
        Self { request, every: patience / 2, next: now, watch_again: now + patience }
    }

    /// The status when it is time to ask for it. None if it is time to watch again.
    ///
    /// # Errors
    ///
    /// Only what another try would not mend.
    pub(super) async fn next(&mut self, client: &Client) -> Result<Option<DevicePoolStatus>> {
        while self.next < self.watch_again {
            sleep_until(self.next).await;
            let asked = self.ask(client).await;
            self.next = Instant::now() + self.every;
            match asked {
                Err(error)
                    if error.is_retryable() || matches!(error, Error::DeadlineExceeded(_)) =>
                {
                    tracing::debug!(%error, "a pool could not be polled, trying again");
                }
                asked => return asked.map(Some),
            }
        }
        sleep_until(self.watch_again).await;
        Ok(None)
    }

    async fn ask(&self, client: &Client) -> Result<DevicePoolStatus> {
        let WatchPoolRequest { user_id, device_id } = self.request.clone();
        let request =
            GetPoolStatusRequest { user_id: user_id.clone(), device_id: device_id.clone() };
        match client.call(request).await {
            Ok(response) => only_status_of(&user_id, &device_id, response.devices),
            // A watch tells of such a device, too.
            Err(Error::UnknownUser(_) | Error::UnknownDevice(_)) => Ok(self.empty()),
            Err(error) => Err(error),
        }
    }

    fn empty(&self) -> DevicePoolStatus {
        let WatchPoolRequest { user_id, device_id } = self.request.clone();
        let health = PoolHealth::Empty.into();
        DevicePoolStatus { user_id, device_id, health, ..Default::default() }
    }
}
