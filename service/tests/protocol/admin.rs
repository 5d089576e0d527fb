//! The admin address: alive, ready, counted.

use super::{
    channel,
    support::{
        Client,
        calls::eventually,
        client, fill, http,
        locks::{Ended, connect},
        pool, reason,
    },
};
use jiff::SignedDuration;
use keypool_proto::v1::{ErrorReason, GetPoolStatusRequest};
use keypool_service::testing::server::TestServer;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

async fn get(server: &TestServer, path: &str) -> http::Response {
    http::get(server.server().admin_address(), path).await
}

async fn becomes(server: &TestServer, status: u16, says: &str) {
    eventually(&format!("/readyz says {says}"), async || {
        let answer = get(server, "/readyz").await;
        answer.status == status && answer.text().contains(says)
    })
    .await;
}

async fn health(server: &TestServer) -> ServingStatus {
    let mut health = HealthClient::new(channel(server).await);
    health.check(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn a_service_that_has_started_is_alive_and_ready() {
    let server = TestServer::start().await;
    for path in ["/livez", "/readyz"] {
        let answer = get(&server, path).await;
        assert_eq!((answer.status, answer.text()), (200, "ok\n"), "{path}");
    }
    assert_eq!(get(&server, "/nothing").await.status, 404);
}

#[tokio::test]
async fn metrics_count_calls_by_method_and_code() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let nobody = GetPoolStatusRequest { user_id: "nobody".into(), ..<_>::default() };
    client.get_pool_status(nobody).await.unwrap_err();
    let answer = get(&server, "/metrics").await;
    assert_eq!(answer.status, 200);
    let line = |name: &str, labels: [&str; 2]| {
        let mut lines = answer.text().lines().filter(|line| line.starts_with(name));
        lines.any(|line| labels.iter().all(|label| line.contains(label)))
    };
    let calls = "keypool_grpc_calls_total";
    assert!(line(calls, ["method=\"UploadKeyPackages\"", "code=\"OK\""]), "{}", answer.text());
    assert!(line(calls, ["method=\"GetPoolStatus\"", "code=\"NOT_FOUND\""]), "{}", answer.text());
    let duration = "keypool_grpc_call_duration_seconds_bucket";
    assert!(line(duration, ["method=\"UploadKeyPackages\"", "le=\"0.01\""]), "{}", answer.text());
}

#[tokio::test]
async fn a_service_whose_clock_is_off_is_not_ready() {
    let server = TestServer::start().await;
    let off = SignedDuration::from_secs(3);
    for off in [off, -off] {
        server.clock().advance(off);
        becomes(&server, 503, "clocks").await;
        assert_eq!(health(&server).await, ServingStatus::NotServing);
        assert_eq!(get(&server, "/livez").await.status, 200, "a restart would not help");
        server.clock().advance(-off);
        becomes(&server, 200, "ok").await;
        assert_eq!(health(&server).await, ServingStatus::Serving);
    }
}

#[tokio::test]
async fn a_service_without_its_database_is_not_ready_until_that_is_back() {
    let server = TestServer::start().await;
    let mut client: Client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let config = server.database().config();
    let name = config.get_dbname().unwrap();
    let admin = connect(config.clone().dbname("postgres")).await;
    let allow = async |allowed: bool| {
        let alter = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}");
        admin.batch_execute(&alter).await.unwrap();
    };
    allow(false).await;
    let elsewhere = config.clone().dbname("postgres").clone();
    let ended = Ended::sessions(&elsewhere, &format!("datname = '{name}'")).await;
    becomes(&server, 503, "the database does not answer").await;
    assert_eq!(health(&server).await, ServingStatus::NotServing);
    assert_eq!(get(&server, "/livez").await.status, 200, "a restart would not help");
    let request = GetPoolStatusRequest { user_id: "bob".into(), device_id: String::new() };
    let status = client.get_pool_status(request).await.unwrap_err();
    assert_eq!(reason(&status), ErrorReason::DatabaseUnavailable);

    drop(ended);
    allow(true).await;
    becomes(&server, 200, "ok").await;
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 1);
}
