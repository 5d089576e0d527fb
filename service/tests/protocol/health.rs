use super::channel;
use keypool_service::testing::server::TestServer;
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

const PATIENCE: Duration = Duration::from_secs(30);

const NAMES: [&str; 3] = ["", "keypool.v1.KeyPackageService", "keypool.v1.AuditService"];

async fn health(server: &TestServer) -> HealthClient<Channel> {
    HealthClient::new(channel(server).await)
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

#[tokio::test]
async fn the_server_and_each_service_are_serving() {
    let server = TestServer::start().await;
    let mut health = health(&server).await;
    for name in NAMES {
        let answer = health.check(of(name)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{name:?}");
    }
}

#[tokio::test]
async fn the_health_of_an_unknown_service_is_not_found() {
    let server = TestServer::start().await;
    let status = health(&server).await.check(of("keypool.v2.Nothing")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn while_draining_nothing_is_serving() {
    let server = TestServer::start().await;
    let mut health = health(&server).await;
    let mut watches = Vec::new();
    for name in NAMES {
        let mut watch = health.watch(of(name)).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        watches.push(watch);
    }
    let stopping = tokio::spawn(server.stop());
    for mut watch in watches {
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        // Whoever only watches does not hold the stop back.
        let ended = timeout(PATIENCE, watch.message()).await.expect("it ends");
        assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    }
    stopping.await.unwrap();
}
