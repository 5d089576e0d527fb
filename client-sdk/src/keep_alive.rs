//! Holds that last as long as they are needed.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Reservation;

/// The service's hold, if none is asked for.
const DEFAULT_TTL: Duration = Duration::from_secs(60);

/// Extends the holds of a reservation in the background, until it is dropped. See
/// [`Reservation::keep_alive`].
#[derive(Debug)]
#[must_use = "dropped, it extends nothing"]
pub struct KeepAlive(JoinHandle<()>);

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reservation {
    /// Extends the holds of what it has now, each time by what was asked for at first, until the
    /// returned guard is dropped: for invites that take longer than a hold lasts. A hold that can't be
    /// extended is left to the spend, which then says why. Must be called within a Tokio runtime.
    pub fn keep_alive(&self) -> KeepAlive {
        let ttl = self.ttl().unwrap_or(DEFAULT_TTL);
        let (client, holds) = (self.client().clone(), self.holds());
        KeepAlive(tokio::spawn(async move {
            loop {
                sleep(ttl / 3).await;
                if let Err(error) = holds.extend(&client, ttl, |_, _| ()).await {
                    tracing::debug!(%error, "holds were not extended");
                    if !error.is_retryable() {
                        return;
                    }
                }
            }
        }))
    }
}
