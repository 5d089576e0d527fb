//! Who has not proven who it is can't make the service keep a trace.
#![allow(clippy::unwrap_used)]

mod support;

use keypool_service::config::{Config, TelemetryConfig};
use keypool_service::telemetry::Telemetry;
use keypool_service::testing::issuer::TestIssuer;
use keypool_service::testing::server::TestServer;
use support::collector::Collector;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

/// A call of a method with an empty message, whose trace its caller keeps.
async fn call(channel: &Channel, trace: u8, token: Option<&str>, path: &'static str) -> Code {
    let mut request = Request::new(());
    let parent = format!("00-{trace:032x}-00f067aa0ba902b7-01");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let answer = client.unary(request, PathAndQuery::from_static(path), codec).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

// One test, as the subscriber is the process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sampled_flag_counts_after_authentication() {
    let collector = Collector::default();
    let endpoint = Some(collector.start().await);
    let telemetry = TelemetryConfig { otlp_endpoint: endpoint, trace_sample_ratio: 0.0 };
    let telemetry = Telemetry::start(&Config { telemetry, ..Config::default() }).unwrap();
    let issuer = TestIssuer::new();
    let server = TestServer::start_with(|config| config.auth = issuer.config()).await;
    let channel = Endpoint::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
    let alice = issuer.user("alice", Some("phone"), &["device"]);

    let status = "/keypool.v1.KeyPackageService/GetPoolStatus";
    assert_eq!(call(&channel, 1, None, status).await, Code::Unauthenticated);
    assert_eq!(call(&channel, 2, Some("forged"), status).await, Code::Unauthenticated);
    let health = "/grpc.health.v1.Health/Check";
    assert_eq!(call(&channel, 3, None, health).await, Code::Ok);
    let unknown = "/keypool.v1.KeyPackageService/Unknown";
    assert_eq!(call(&channel, 4, None, unknown).await, Code::Unauthenticated);
    assert_eq!(call(&channel, 5, Some(&alice), unknown).await, Code::Unimplemented);
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    call(&channel, 6, None, reflection).await;
    assert_eq!(call(&channel, 7, Some(&alice), status).await, Code::InvalidArgument);
    telemetry.stop().await;

    let mut traces: Vec<u8> = collector.spans().iter().map(|span| span.trace_id[15]).collect();
    traces.dedup();
    assert_eq!(traces, [7], "{:?}", collector.spans());
}
