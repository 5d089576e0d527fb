//! Streams that go on until somebody ends them: they leave room for other calls, and end with their connection.

use super::support::{
    calls::eventually,
    client, fill, http,
    locks::{lock_table, somebody_waits},
    pool, reason, upload_request,
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    ErrorReason, WatchPoolRequest, key_package_service_client::KeyPackageServiceClient,
};
use keypool_service::{
    config::Config,
    testing::{packages::PackageMaker, server::TestServer},
};
use prost::Message;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt;

const PATIENCE: Duration = Duration::from_secs(30);

async fn channel(endpoint: String) -> Channel {
    Channel::from_shared(endpoint).unwrap().connect().await.unwrap()
}

fn phone() -> WatchPoolRequest {
    WatchPoolRequest { user_id: "bob".into(), device_id: "phone".into() }
}

async fn watch_health(channel: &Channel) -> Result<Streaming<HealthCheckResponse>, Status> {
    let request = HealthCheckRequest::default();
    Ok(HealthClient::new(channel.clone()).watch(request).await?.into_inner())
}

/// Opens a long stream of each kind in turn, and keeps it open.
async fn open(kind: usize, channel: &Channel) -> Result<Box<dyn Send>, Status> {
    match kind % 4 {
        0 => {
            let mut client = KeyPackageServiceClient::new(channel.clone());
            Ok(Box::new(client.watch_pool(phone()).await?.into_inner()))
        }
        1 => Ok(Box::new(watch_health(channel).await?)),
        2 => {
            let mut client =
                v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
            let asks = tokio_stream::pending();
            Ok(Box::new(client.server_reflection_info(asks).await?.into_inner()))
        }
        _ => {
            let mut client =
                v1alpha::server_reflection_client::ServerReflectionClient::new(channel.clone());
            let asks = tokio_stream::pending();
            Ok(Box::new(client.server_reflection_info(asks).await?.into_inner()))
        }
    }
}

#[tokio::test]
async fn half_of_a_connections_streams_are_left_to_other_calls() {
    let server = TestServer::start_with(|config| config.limits.streams_per_connection = 16).await;
    let channel = channel(server.endpoint()).await;
    let mut client = KeyPackageServiceClient::new(channel.clone());
    fill(&mut client, "bob", "phone", 1).await;
    let mut streams = Vec::new();
    for kind in 0..8 {
        let opened = timeout(PATIENCE, open(kind, &channel)).await.expect("there is an answer");
        streams.push(opened.unwrap());
    }
    for kind in 0..4 {
        let refused = timeout(PATIENCE, open(kind, &channel)).await.expect("there is an answer");
        let refused = refused.err().unwrap();
        assert_eq!(reason(&refused), ErrorReason::TooManyWatches, "{refused:?}");
        let details = refused.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["limit"], "connection");
    }
    let status = timeout(PATIENCE, pool(&mut client, "bob", "phone"));
    assert_eq!(status.await.expect("calls go on").available, 1);

    // Another connection has room, and so has this one when a stream has ended.
    let other = self::channel(server.endpoint()).await;
    open(0, &other).await.unwrap();
    drop(streams.swap_remove(0));
    eventually("there is room again", async || open(0, &channel).await.is_ok()).await;
}

#[tokio::test]
async fn by_default_a_connection_has_room_for_128_watches_and_for_calls_beside_them() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let mut watches = Vec::new();
    let mut open = async || timeout(PATIENCE, client.watch_pool(phone())).await.expect("an answer");
    while let Ok(watch) = open().await {
        watches.push(watch.into_inner());
    }
    assert_eq!(watches.len(), 128);
    let status = timeout(PATIENCE, pool(&mut client, "bob", "phone"));
    assert_eq!(status.await.expect("calls go on").available, 1);
}

/// Passes connections on to a service, and counts those that are open.
async fn relay(service: SocketAddr) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let open = Arc::new(AtomicUsize::new(0));
    let counted = open.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let counted = counted.clone();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(service).await.unwrap();
                copy_bidirectional(&mut client, &mut server).await.ok();
                counted.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (endpoint, open)
}

fn ages(config: &mut Config) {
    config.limits.connection_age = SignedDuration::from_secs(1);
}

fn assert_shutting_down(ended: &Status) {
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    assert_eq!(reason(ended), ErrorReason::ShuttingDown);
}

#[tokio::test]
async fn an_old_connection_ends_with_its_watches() {
    let server = TestServer::start_with(ages).await;
    let (endpoint, open) = relay(server.server().address()).await;
    let channel = channel(endpoint).await;
    let mut pool = KeyPackageServiceClient::new(channel.clone());
    let mut pool = pool.watch_pool(phone()).await.unwrap().into_inner();
    let mut health = watch_health(&channel).await.unwrap();
    pool.message().await.unwrap().unwrap();
    health.message().await.unwrap().unwrap();

    let ended = timeout(PATIENCE, pool.message()).await.expect("it ends").unwrap_err();
    assert_shutting_down(&ended);
    let ended = timeout(PATIENCE, health.message()).await.expect("it ends").unwrap_err();
    assert_shutting_down(&ended);
    // The client still has its end.
    eventually("the connection is closed", async || open.load(Ordering::SeqCst) == 0).await;
    drop(channel);
}

#[tokio::test]
async fn a_call_on_an_old_connection_is_finished() {
    let server = TestServer::start_with(ages).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "laptop", 1).await; // so that there is a device to lock
    let lock = lock_table(&server, "device").await;
    let mut client = super::support::client(&server).await;
    // The first of several ends long before the upload would give up the lock.
    let mut watches = JoinSet::new();
    for _ in 0..16 {
        let mut watch = client.watch_pool(phone()).await.unwrap().into_inner();
        watch.message().await.unwrap().unwrap();
        watches.spawn(async move { watch.message().await });
    }
    let package = PackageMaker::new("bob", "laptop").make();
    let upload = upload_request("bob", "laptop", vec![package]);
    let call = tokio::spawn(async move { client.upload_key_packages(upload).await });
    somebody_waits(server.database()).await;

    let ended = timeout(PATIENCE, watches.join_next()).await.expect("it ends");
    assert_shutting_down(&ended.unwrap().unwrap().unwrap_err());
    lock.batch_execute("COMMIT").await.unwrap();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_watch_by_grpc_web_ends_with_its_connection() {
    let server = TestServer::start_with(ages).await;
    let request = phone().encode_to_vec();
    let length = u32::try_from(request.len()).unwrap().to_be_bytes();
    let body = [&[0], length.as_slice(), &request].concat();
    let path = "/keypool.v1.KeyPackageService/WatchPool";
    let kind = "application/grpc-web+proto";
    let answer = http::post(server.server().address(), path, kind, &body);
    let answer = timeout(PATIENCE, answer).await.expect("it ends");
    let trailers = String::from_utf8_lossy(&answer.body).replace(": ", ":");
    assert!(trailers.contains("grpc-status:14"), "{trailers}");
}
