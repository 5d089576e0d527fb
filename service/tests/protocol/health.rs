use super::{
    channel,
    support::{
        http,
        network::{Link, Network},
    },
};
use keypool_service::{
    clock::SystemClock,
    config::{Config, DatabaseUrl},
    server::Server,
    testing::{database::TestDatabase, server::TestServer},
};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
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

#[tokio::test]
async fn nothing_is_serving_before_the_first_check_has_succeeded() {
    let database = TestDatabase::create().await;
    let network = Network::before(&database);
    network.set(Link::Silent);
    let free = (Ipv4Addr::LOCALHOST, 0).into();
    let url = DatabaseUrl::new(network.url(&database.url()));
    let config =
        Config { listen: free, admin_listen: free, database_url: Some(url), ..Config::default() };
    let mut server = Server::listen(&config, Arc::new(SystemClock)).await.unwrap();
    let endpoint = format!("http://{}", server.address());
    let channel = Channel::from_shared(endpoint).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let admin = server.admin_address();
    for reason in ["starting", "the database does not answer"] {
        let answer = http::get(admin, "/readyz").await;
        assert_eq!((answer.status, answer.text().trim()), (503, reason));
        for name in NAMES {
            let answer = health.check(of(name)).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::NotServing, "{name:?}");
        }
        assert!(server.contacted().await.unwrap().is_some());
    }
    network.set(Link::Up);
    server.ready().await.unwrap();
    assert_eq!(http::get(admin, "/readyz").await.status, 200);
    server.stop().await.unwrap();
}
