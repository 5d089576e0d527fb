//! Reasons that lie in the service and its database.

use crate::{
    Documented,
    support::{
        Client,
        calls::*,
        client, device, fill,
        locks::{Hurdle, connect, lock},
        reserve, reserve_request, spend, upload_request,
    },
};
use keypool_proto::v1::{self, ErrorReason};
use keypool_service::testing::server::TestServer;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Status, codegen::http};

pub(super) const UNAVAILABLE: Documented<'_> = Documented {
    code: Code::Unavailable,
    reason: ErrorReason::DatabaseUnavailable,
    message: "The database is unavailable",
    metadata: &[],
};

/// The status of a call of each kind that must fail.
async fn failures(client: &mut Client) -> [Status; 4] {
    let name = v1::KeyPackageName {
        user_id: "bob".into(),
        device_id: "phone".into(),
        key_package_ref: vec![7; 32],
    };
    let status = v1::GetPoolStatusRequest { user_id: "bob".into(), device_id: "phone".into() };
    [
        reserve(client, "r1", vec![device("bob", "phone")]).await.unwrap_err(),
        spend(client, "r1", vec![name]).await.unwrap_err(),
        client
            .upload_key_packages(upload_request("bob", "phone", vec![vec![1]]))
            .await
            .unwrap_err(),
        client.get_pool_status(status).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn overloaded() {
    let server = TestServer::start_with(|config| config.limits.calls_in_flight = 0).await;
    let mut client = client(&server).await;
    for error in failures(&mut client).await {
        Documented {
            code: Code::Unavailable,
            reason: ErrorReason::Overloaded,
            message: "The service is overloaded",
            metadata: &[],
        }
        .assert(&error);
    }
}

#[tokio::test]
async fn database_unavailable_when_it_is_gone() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;

    let mut elsewhere = server.database().config();
    let name = elsewhere.get_dbname().unwrap().to_owned();
    let admin = connect(elsewhere.dbname("postgres")).await;
    admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    for error in failures(&mut client).await {
        UNAVAILABLE.assert(&error);
    }
}

#[tokio::test]
async fn database_unavailable_when_it_breaks_off_in_the_middle() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let hurdle = Hurdle::start(&server).await;
    let mut caller = client.clone();
    let call = tokio::spawn(async move { reserve_one(&mut caller, "r1", "bob", "phone").await });
    let end_backends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                        WHERE datname = current_database() AND wait_event = 'PgSleep'";
    eventually("the service gives up", async || {
        hurdle.0.query_one(end_backends, &[]).await.unwrap();
        call.is_finished()
    })
    .await;
    UNAVAILABLE.assert(&call.await.unwrap().unwrap_err());

    hurdle.end().await;
    eventually("a repetition succeeds", async || {
        reserve_one(&mut client, "r1", "bob", "phone").await.is_ok()
    })
    .await;
}

/// Reserves with a deadline that only the service knows of: a client of gRPC gives up at the same moment.
async fn reserve_within(server: &TestServer, timeout: Duration) -> Status {
    let message =
        prost::Message::encode_to_vec(&reserve_request("r1", vec![device("bob", "phone")]));
    let head = format!(
        "POST /keypool.v1.KeyPackageService/ReserveKeyPackages HTTP/1.1\r\nhost: keypool\r\n\
         content-type: application/grpc-web+proto\r\ngrpc-timeout: {}m\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        timeout.as_millis(),
        5 + message.len(),
    );
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);

    let mut stream = TcpStream::connect(server.server().address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&frame).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let headers = answer
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)));
    Status::from_header_map(&headers.collect::<http::HeaderMap>()).unwrap()
}

#[tokio::test]
async fn deadline_exceeded() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let _other = lock(&server, "SELECT key_package_ref FROM one_time").await;
    let error = reserve_within(&server, Duration::from_millis(100)).await;
    Documented {
        code: Code::DeadlineExceeded,
        reason: ErrorReason::DeadlineExceeded,
        message: "The deadline passed",
        metadata: &[],
    }
    .assert(&error);
}

#[tokio::test]
async fn internal() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let database = connect(&server.database().config()).await;
    // An error of a value, wherever a row is read.
    let broken = "ALTER TABLE device RENAME TO real; \
                  CREATE VIEW device AS SELECT bucket, user_id, device_id, \
                  timestamptz 'epoch' + interval '1 s' / (bucket - bucket) AS last_upload_at FROM real";
    database.batch_execute(broken).await.unwrap();
    let status = v1::GetPoolStatusRequest { user_id: "bob".into(), device_id: "phone".into() };
    Documented {
        code: Code::Internal,
        reason: ErrorReason::Internal,
        message: "Internal fault",
        metadata: &[],
    }
    .assert(&client.get_pool_status(status).await.unwrap_err());
}
