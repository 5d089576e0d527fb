//! Calls are part of the application's trace.
#![allow(clippy::unwrap_used)]

mod support;

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use support::*;
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::prelude::*;

// One test, as what a process knows of its spans' levels depends on all threads.
#[tokio::test]
async fn a_call_names_the_span_that_it_belongs_to() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let tracer = SdkTracerProvider::builder().build().tracer("test");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    let subscriber = tracing_subscriber::registry().with(layer).set_default();

    let span = tracing::info_span!("an invite");
    fake.status.answer(Err(unavailable())).answer(Ok(some_status()));
    client.pool_status("bob", "phone").instrument(span.clone()).await.unwrap();

    let context = span.context();
    let context = context.span().span_context().clone();
    let parents = fake.status.header("traceparent");
    assert_eq!(parents.len(), 2);
    for parent in &parents {
        let parts: Vec<_> = parent.split('-').collect();
        assert_eq!(parts.len(), 4, "{parent}");
        assert_eq!((parts[0], parts[3]), ("00", "01"));
        assert_eq!(parts[1], context.trace_id().to_string());
        assert_ne!(parts[2], context.span_id().to_string(), "the call has a span of its own");
    }

    drop(subscriber);
    fake.status.answer(Ok(some_status()));
    client.pool_status("bob", "phone").await.unwrap();
    assert_eq!(fake.status.header("traceparent")[2], "");
}
