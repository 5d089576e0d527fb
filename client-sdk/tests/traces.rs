//! One trace, from a call of the SDK to a statement in the database, as a collector receives it by OTLP.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use keypool_client::Client;
use keypool_service::config::{Config, TelemetryConfig};
use keypool_service::telemetry::Telemetry;
use keypool_service::testing::packages::PackageMaker;
use keypool_service::testing::server::TestServer;
use opentelemetry_proto::tonic::trace::v1::Span;
use support::collector::Collector;

/// The only span of this name among those below another.
fn below<'a>(spans: &'a [Span], parent: &[u8], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.parent_span_id == parent && span.name == name);
    let span = found.next().unwrap_or_else(|| {
        let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
        panic!("no {name} below the parent among {names:?}")
    });
    assert_eq!(found.next(), None, "{name} once");
    span
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

// One test, as the subscriber is the process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_from_the_sdk_to_the_statement() {
    let collector = Collector::default();
    let telemetry =
        TelemetryConfig { otlp_endpoint: Some(collector.start().await), trace_sample_ratio: 1.0 };
    let telemetry = Telemetry::start(&Config { telemetry, ..Config::default() }).unwrap();
    let server = TestServer::start().await;
    let client = Client::builder(server.endpoint()).timeout(Duration::from_secs(20));
    let client = client.connect().await.unwrap();
    let package = PackageMaker::new("bob", "phone").make();
    client.upload("bob", "phone", vec![package]).await.unwrap();

    let mut reservation = client.reserve("a group").device("bob", "phone").send().await.unwrap();
    reservation.spend().await.unwrap();
    telemetry.stop().await;

    let spans = collector.spans();
    let root = below(&spans, &[], "ReserveKeyPackages");
    let call = below(&spans, &root.span_id, "ReserveKeyPackages");
    let batch = below(&spans, &call.span_id, "lane reserve");
    let statement = below(&spans, &batch.span_id, "take");
    for span in [call, batch, statement] {
        assert_eq!(span.trace_id, root.trace_id);
        assert!(root.start_time_unix_nano <= span.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano);
    }
    assert_eq!(text(statement, "db.operation.name"), Some("take"));
    assert_eq!(text(root, "reservation_id"), text(call, "reservation_id"));
    assert!(text(call, "reservation_id").is_some());
    let kinds = [root, call, statement].map(|span| span.kind().as_str_name());
    assert_eq!(kinds, ["SPAN_KIND_CLIENT", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT"]);

    let spend = below(&spans, &[], "SpendReservation");
    let call = below(&spans, &spend.span_id, "SpendReservation");
    let batch = below(&spans, &call.span_id, "lane hold");
    below(&spans, &batch.span_id, "spend");
}
