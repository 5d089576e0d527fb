//! What an application sees of a call: a span, and metrics.

#[cfg_attr(not(feature = "metrics"), path = "no_metrics.rs")]
mod metrics;
#[cfg(feature = "opentelemetry")]
mod trace_context;

use tracing::{Span, field};

use self::metrics::CallMetrics;
pub(crate) use self::metrics::kept_back;
#[cfg(feature = "openmls")]
pub(crate) use self::metrics::rejected;
use crate::Error;
use crate::method::Method;

#[cfg(feature = "opentelemetry")]
pub(crate) use trace_context::send_context;

/// A call, as it is observed. Dropped before its end, it was cancelled.
#[derive(Debug)]
pub(crate) struct Observed {
    span: Span,
    metrics: CallMetrics,
    tries: u32,
}

impl Observed {
    pub(crate) fn start<M: Method>(request: &M) -> Self {
        let span = tracing::info_span!(
            "keypool_call",
            otel.name = M::NAME,
            otel.kind = "client",
            otel.status_code = field::Empty,
            rpc.system = "grpc",
            method = M::NAME,
            reservation_id = request.reservation_id(),
            attempts = field::Empty,
            outcome = field::Empty,
        );
        Self { span, metrics: CallMetrics::start(M::NAME), tries: 0 }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// A try begins.
    pub(crate) fn tried(&mut self) {
        self.tries += 1;
        self.span.record("attempts", self.tries);
        if self.tries > 1 {
            self.metrics.retried();
        }
    }

    pub(crate) fn ended(mut self, error: Option<&Error>) {
        let outcome = error.map_or("ok", Error::label);
        self.span.record("outcome", outcome);
        if error.is_some() {
            self.span.record("otel.status_code", "ERROR");
        }
        self.metrics.ended(outcome);
    }
}
