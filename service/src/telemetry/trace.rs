//! Traces, by OTLP to an OpenTelemetry collector.

use super::log::is_own;
use crate::config::TelemetryConfig;
use opentelemetry::{
    KeyValue,
    trace::{
        SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
    },
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use std::time::Duration;
use tonic::transport::ClientTlsConfig;
use tracing::{Level, Span, Subscriber, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

/// How long the collector may take for a batch of spans. They are sent beside the calls, and dropped when too many wait.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Traces can't be sent.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp_endpoint can't be used: it must be like http://collector:4317")]
pub struct TraceError(#[from] ExporterBuildError);

/// Prepares the sending of traces, if there is somebody to send them to. A collector that is away costs no more than
/// its traces.
pub(super) fn provider(config: &TelemetryConfig) -> Result<Option<SdkTracerProvider>, TraceError> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
    let mut exporter =
        SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT);
    if endpoint.starts_with("https://") {
        exporter = exporter.with_tls_config(ClientTlsConfig::new().with_native_roots());
    }
    // The collector's operator names the instance: OTEL_RESOURCE_ATTRIBUTES is read too.
    let resource = Resource::builder()
        .with_service_name("keypool")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let ratio = Sampler::TraceIdRatioBased(config.trace_sample_ratio);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter.build()?)
        .with_sampler(Sampler::ParentBased(Box::new(ratio)))
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}

/// Makes OpenTelemetry's spans of this project's own.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("keypool"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        // A span that was entered could not be made part of its caller's trace any more.
        .with_context_activation(false)
        .with_filter(filter_fn(|metadata| {
            metadata.is_span() && *metadata.level() <= Level::DEBUG && is_own(metadata.target())
        }))
}

/// Makes a call's span part of the trace that its headers name, in W3C's Trace Context, and notes the trace in the span.
///
/// A caller decides by its headers whether the trace is kept, so that it must have proven who it is. Before this call, the span
/// must not have children.
pub(crate) fn continue_trace(span: &Span, headers: &http::HeaderMap) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(parent) = text("traceparent").and_then(|parent| remote(parent, text("tracestate")))
    {
        let context = opentelemetry::Context::new().with_remote_span_context(parent);
        // In vain if nobody follows the span.
        let _ = span.set_parent(context);
    }
    if let Some(trace) = sampled(span) {
        span.record("trace_id", field::display(trace));
    }
}

/// Reads `traceparent`, version 00: `00-{trace id}-{span id}-{flags}`. What a later version adds is ignored.
fn remote(parent: &str, state: Option<&str>) -> Option<SpanContext> {
    let mut parts = parent.trim().split('-');
    let version = parts.next().filter(|version| version.len() == 2 && *version != "ff")?;
    let trace = TraceId::from_hex(parts.next().filter(|id| id.len() == 32)?).ok()?;
    let span = SpanId::from_hex(parts.next().filter(|id| id.len() == 16)?).ok()?;
    let flags = u8::from_str_radix(parts.next().filter(|flags| flags.len() == 2)?, 16).ok()?;
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    let context = SpanContext::new(trace, span, flags, true, state);
    context.is_valid().then_some(context)
}

/// The trace that a span is part of, if it is kept.
fn sampled(span: &Span) -> Option<TraceId> {
    let context = span.context();
    let span = context.span().span_context().clone();
    (span.is_valid() && span.is_sampled()).then(|| span.trace_id())
}

/// Whether the trace that a span is part of is kept.
pub(crate) fn is_sampled(span: &Span) -> bool {
    sampled(span).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_parent_is_read_as_w3c_writes_it() {
        let context = remote(PARENT, Some("vendor=1")).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        assert_eq!(context.trace_state().get("vendor"), Some("1"));
        assert!(!remote(&PARENT.replace("-01", "-00"), None).unwrap().is_sampled());
        assert!(remote(&PARENT.replace("00-4b", "cc-4b").replace("-01", "-01-x"), None).is_some());
    }

    #[test]
    fn what_is_no_trace_parent_is_ignored() {
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let later = PARENT.replace("-01", "-01-x");
        let newest = PARENT.replace("00-4b", "ff-4b");
        for wrong in ["", "00", "00-1-2-3", zeros, &later, &newest, &PARENT[1..]] {
            assert!(remote(wrong, None).is_none(), "{wrong}");
        }
    }
}
