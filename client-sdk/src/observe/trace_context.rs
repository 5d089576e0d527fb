//! W3C Trace Context: which trace a call is part of.

use opentelemetry::TraceFlags;
use opentelemetry::trace::TraceContextExt;
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Sends the context of the current span along, if OpenTelemetry follows it.
///
/// It is always W3C's, whatever propagator the application has: that is what the service reads.
pub(crate) fn send_context(metadata: &mut MetadataMap) {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return;
    }
    let flags = span.trace_flags() & TraceFlags::SAMPLED;
    let parent = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
    send(metadata, "traceparent", &parent);
    send(metadata, "tracestate", &span.trace_state().header());
}

fn send(metadata: &mut MetadataMap, name: &'static str, value: &str) {
    if !value.is_empty()
        && let Ok(value) = value.parse()
    {
        metadata.insert(name, value);
    }
}
