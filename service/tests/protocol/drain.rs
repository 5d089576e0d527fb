use super::support::{
    calls::{eventually, reserve_one},
    client, fill,
    locks::{lock_table, somebody_waits},
    upload_request,
};
use jiff::SignedDuration;
use keypool_service::{
    config::Config,
    testing::{packages::PackageMaker, server::TestServer},
};
use std::time::{Duration, Instant};
use tokio::{net::TcpStream, task::JoinHandle};
use tonic::Code;

/// A call that waits for a lock until that is given up.
async fn hanging_call(server: &TestServer) -> JoinHandle<Result<(), tonic::Status>> {
    let mut client = client(server).await;
    let call = tokio::spawn(async move {
        let package = PackageMaker::new("bob", "phone").make();
        let request = upload_request("bob", "phone", vec![package]);
        client.upload_key_packages(request).await.map(drop)
    });
    somebody_waits(server.database()).await;
    call
}

#[tokio::test]
async fn a_call_under_way_finishes_while_new_ones_are_refused() {
    let patient = |config: &mut Config| {
        config.drain_timeout = SignedDuration::from_secs(60);
    };
    let server = TestServer::start_with(patient).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 2).await;
    let address = server.server().address();
    let lock = lock_table(&server, "device").await;
    let under_way = hanging_call(&server).await;

    // A replica keeps the database, on which the call and the lock depend.
    let replica = server.replica().await;
    let stopping = tokio::spawn(server.stop());
    eventually("connections are refused", async || TcpStream::connect(address).await.is_err())
        .await;
    // The first call may meet the end of its connection, which the client calls CANCELLED.
    eventually("calls are refused", async || {
        let refused = reserve_one(&mut client, "r", "bob", "phone").await.unwrap_err();
        refused.code() == Code::Unavailable
    })
    .await;
    assert!(!under_way.is_finished() && !stopping.is_finished());

    lock.batch_execute("COMMIT").await.unwrap();
    under_way.await.unwrap().unwrap();
    stopping.await.unwrap();
    replica.stop().await;
}

#[tokio::test]
async fn a_call_that_does_not_finish_in_time_does_not_keep_the_service_from_stopping() {
    let hasty = |config: &mut Config| {
        config.drain_timeout = SignedDuration::from_millis(100);
    };
    let server = TestServer::start_with(hasty).await;
    fill(&mut client(&server).await, "bob", "phone", 2).await;
    let _lock = lock_table(&server, "device").await;
    let _under_way = hanging_call(&server).await;
    let started = Instant::now();
    server.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
