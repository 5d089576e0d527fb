use serde::{Deserialize, Serialize};

/// Where traces go. Metrics are always at `/metrics`, and the log on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// An OpenTelemetry collector that takes OTLP by gRPC, as `http://collector:4317`, or `https://…` with a certificate
    /// from a CA among the system's roots. Without it, there are no traces.
    pub otlp_endpoint: Option<String>,
    /// Which share of the traces is kept, 0 to 1, of calls whose callers don't say. Callers who trace decide themselves.
    pub trace_sample_ratio: f64,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_endpoint: None, trace_sample_ratio: 0.01 }
    }
}
