//! What operators see of the service: metrics, traces and the log.

mod burst;
pub mod catalogue;
mod log;
mod metric;
mod rare;
mod trace;

pub use metric::{Counter, Description, Gauge, Histogram};
pub use trace::TraceError;

pub(crate) use burst::Burst;
pub(crate) use rare::begin as begin_rare;
pub(crate) use trace::{continue_trace, is_sampled};

use crate::config::Config;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::Duration;
use tracing_subscriber::{
    Layer, filter::FilterExt, layer::SubscriberExt, registry, util::SubscriberInitExt,
};

/// How long the last spans may take to be sent when the process ends.
const FLUSH: Duration = Duration::from_secs(2);

/// Log and traces of a process.
#[derive(Debug)]
#[must_use = "the last traces are sent when it is stopped"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Starts logging, and sending traces if the configuration says to whom. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// If traces can't be sent to where they should be.
    pub fn start(config: &Config) -> Result<Self, TraceError> {
        let traces = trace::provider(&config.telemetry)?;
        let format = config.log_format;
        // A subscriber that is installed already, as in tests, stays.
        let _installed = match &traces {
            // A filter for all costs each call less than one for each layer.
            None => {
                let filtered = registry().with(log::asked_for()).with(log::harmless());
                filtered.with(log::lines(format)).try_init()
            }
            Some(traces) => {
                let lines = log::lines(format);
                let lines = lines.with_filter(log::asked_for().and(log::harmless()));
                registry().with(lines).with(trace::layer(traces)).try_init()
            }
        };
        Ok(Self { traces })
    }

    /// Sends the last traces.
    pub async fn stop(self) {
        let Some(traces) = self.traces else { return };
        // It waits for a thread of its own.
        let flushed =
            tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(FLUSH)).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}
