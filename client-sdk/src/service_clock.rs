//! The service's clock, as this process can tell.

use std::time::SystemTime;

use prost_types::Timestamp;
use tokio::time::Instant;

use crate::Result;
use crate::package::to_time;

/// Translates the service's times to this process's monotonic clock. The machine's own clock, which may
/// be wrong, plays no part in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServiceClock {
    told: SystemTime,
    asked_at: Instant,
}

impl ServiceClock {
    /// From the time in an answer, and when the call was made. `None` if the service does not tell.
    pub(crate) fn of(service_time: Option<Timestamp>, asked_at: Instant) -> Result<Option<Self>> {
        Ok(to_time(service_time)?.map(|told| Self { told, asked_at }))
    }

    /// When the service's clock reaches that time, or a little before: by as much as the answer took.
    pub(crate) fn instant(self, time: SystemTime) -> Instant {
        let left = time.duration_since(self.told).unwrap_or_default();
        self.asked_at.checked_add(left).unwrap_or(self.asked_at)
    }
}
