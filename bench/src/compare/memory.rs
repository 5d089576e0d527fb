//! How much memory the service uses, and whether it grows.

use super::setup::Setup;
use crate::{
    child::Child,
    drive::{memory_peak, memory_used},
    error::Error,
};
use serde::Serialize;
use std::time::{Duration, Instant};

/// When a service's memory is looked at.
struct Look {
    /// After so many reserves.
    after: u64,
    /// Reserving goes on for so long before they are counted again.
    step: Duration,
}

/// The first look: at a service that has just warmed up.
const FIRST: Look = Look { after: 10_000, step: Duration::from_millis(250) };
/// The last look: at a service in which whatever leaks has leaked.
const LAST: Look = Look { after: 1_000_000, step: Duration::from_secs(10) };

/// How long is waited for a look at most, in lengths of a measurement. What was reached by then is told.
const WITHIN: u32 = 36;

/// Bytes of memory.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Memory {
    /// The most that the service used which everything was measured with.
    pub(super) peak: Option<u64>,
    /// What a fresh service uses after ten thousand reserves.
    #[serde(rename = "after_10000_reserves")]
    pub(super) first: Option<u64>,
    /// What it uses at the end.
    #[serde(rename = "at_the_end")]
    pub(super) last: Option<u64>,
    /// Reserves until then.
    #[serde(rename = "reserves_at_the_end")]
    pub(super) reserves: u64,
}

impl Memory {
    /// Looks at the service that was measured, and at a fresh one, while it reserves with the most calls in flight.
    pub(super) async fn look(
        setup: &Setup,
        levels: &[u32],
        window: Duration,
    ) -> Result<Self, Error> {
        let in_flight = levels.iter().copied().max().unwrap_or(1);
        let fresh = setup.rig.service().await?;
        let mut memory =
            Self { peak: setup.service.pid().and_then(memory_peak), ..Self::default() };
        memory.first = memory.after(setup, &fresh, in_flight, FIRST, window).await?;
        memory.last = memory.after(setup, &fresh, in_flight, LAST, window).await?;
        fresh.stop().await?;
        Ok(memory)
    }

    /// Reserves until a service has done so many reserves, and returns what it uses then.
    async fn after(
        &mut self,
        setup: &Setup,
        service: &Child,
        in_flight: u32,
        look: Look,
        window: Duration,
    ) -> Result<Option<u64>, Error> {
        eprintln!("reserving until {} are done, to look at the service's memory", look.after);
        let begun = Instant::now();
        while self.reserves < look.after && begun.elapsed() < WITHIN * window {
            self.reserves +=
                setup.soak(service, in_flight, look.step.min(WITHIN * window)).await?.items;
        }
        Ok(service.pid().and_then(memory_used))
    }
}
