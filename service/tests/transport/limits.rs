use super::{
    authority::{Authority, serve},
    support::{
        calls::eventually,
        client, fill, http,
        locks::{lock_table, somebody_waits},
        pool, upload_request,
    },
};
use jiff::SignedDuration;
use keypool_proto::v1::{GetPoolStatusRequest, WatchPoolRequest};
use keypool_service::{
    config::Config,
    testing::{packages::PackageMaker, server::TestServer},
};
use rustls::version::TLS13;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::{Code, Request};

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the other end closes.
async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    // With or without a word.
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed").ok();
}

async fn connect(server: &TestServer) -> TcpStream {
    TcpStream::connect(server.server().address()).await.unwrap()
}

/// A request of HTTP/1.1 whose connection stays.
async fn request(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it answers");
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("content-length: 0"), "{answer}");
}

fn hasty_handshake(config: &mut Config) {
    config.limits.handshake_timeout = SignedDuration::from_secs(1);
}

#[tokio::test]
async fn a_peer_that_begins_with_silence_is_dropped() {
    let server = TestServer::start_with(hasty_handshake).await;
    let mut used = connect(&server).await;
    request(&mut used).await;
    for beginning in ["", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let mut stream = connect(&server).await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        closed(&mut stream).await;
    }
    // One that has begun may be silent for longer.
    request(&mut used).await;
}

#[tokio::test]
async fn a_peer_that_is_silent_before_or_after_the_handshake_is_dropped() {
    let authority = Authority::new("servers");
    let (server, _files) = serve(&authority, |_, config, _| hasty_handshake(config)).await;
    closed(&mut connect(&server).await).await;
    closed(&mut authority.handshake(&server, &TLS13).await.unwrap()).await;
}

#[tokio::test]
async fn idle_connections_are_dropped_and_pings_keep_those_that_answer() {
    let hasty = |config: &mut Config| config.limits.idle_timeout = SignedDuration::from_secs(2);
    let server = TestServer::start_with(hasty).await;
    let mut client = client(&server).await;
    let watched = WatchPoolRequest { user_id: "bob".into(), device_id: "phone".into() };
    let mut watch = client.watch_pool(watched).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    for _ in 0..2 {
        let mut idle = connect(&server).await;
        request(&mut idle).await;
        closed(&mut idle).await;
    }
    // Twice that time has passed on the watch's connection, too.
    fill(&mut client, "bob", "phone", 1).await;
    watch.message().await.unwrap().unwrap();
}

#[tokio::test]
async fn there_are_no_more_connections_than_allowed() {
    let few = |config: &mut Config| config.limits.connections = 2;
    let server = TestServer::start_with(few).await;
    // Those that call nothing of the API make room, the oldest first.
    let mut strangers = [connect(&server).await, connect(&server).await];
    for stranger in &mut strangers {
        request(stranger).await;
    }
    let mut next = connect(&server).await;
    request(&mut next).await;
    closed(&mut strangers[0]).await;
    request(&mut strangers[1]).await;

    // Those of callers stay.
    let mut callers = Vec::new();
    for _ in 0..2 {
        let mut caller = client(&server).await;
        fill(&mut caller, "bob", "phone", 1).await;
        callers.push(caller);
    }
    closed(&mut next).await;
    closed(&mut connect(&server).await).await;
    for caller in &mut callers {
        fill(caller, "bob", "phone", 1).await;
    }
    let metrics = http::get(server.server().admin_address(), "/metrics").await;
    for result in ["evicted", "over_limit"] {
        let count = format!("keypool_connections_total{{result=\"{result}\"}}");
        assert!(metrics.text().contains(&count), "{result}");
    }
    assert!(metrics.text().contains("keypool_connections "));

    drop(callers);
    eventually("there is room again", async || {
        let mut stream = connect(&server).await;
        let begun = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.is_ok();
        begun && matches!(stream.read(&mut [0; 12]).await, Ok(1..))
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_calls_nothing_is_dropped_and_one_that_calls_is_not() {
    let hasty = |config: &mut Config| config.limits.stranger_timeout = SignedDuration::from_secs(2);
    let server = TestServer::start_with(hasty).await;
    let mut caller = client(&server).await;
    fill(&mut caller, "bob", "phone", 1).await;
    for _ in 0..2 {
        let mut stranger = connect(&server).await;
        request(&mut stranger).await;
        closed(&mut stranger).await;
    }
    fill(&mut caller, "bob", "phone", 1).await;
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let with_header = |length: usize| {
        let user = GetPoolStatusRequest { user_id: "bob".into(), ..Default::default() };
        let mut request = Request::new(user);
        request.metadata_mut().insert("x-padding", "a".repeat(length).parse().unwrap());
        request
    };
    client.get_pool_status(with_header(8 * 1024)).await.unwrap();
    client.get_pool_status(with_header(20 * 1024)).await.unwrap_err();
    client.get_pool_status(with_header(8 * 1024)).await.unwrap();

    let generous = |config: &mut Config| config.limits.header_bytes = 64 * 1024;
    let server = TestServer::start_with(generous).await;
    let mut client = super::support::client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    client.get_pool_status(with_header(20 * 1024)).await.unwrap();
}

#[tokio::test]
async fn messages_that_are_too_large_are_refused() {
    let small = |config: &mut Config| config.limits.message_bytes = 64 * 1024;
    let server = TestServer::start_with(small).await;
    let mut client = client(&server).await;
    let upload = |bytes| upload_request("bob", "phone", vec![vec![0; bytes]]);
    client.upload_key_packages(upload(60 * 1024)).await.unwrap();
    let refused = client.upload_key_packages(upload(70 * 1024)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}

#[tokio::test]
async fn calls_beyond_the_streams_of_a_connection_wait() {
    let narrow = |config: &mut Config| config.limits.streams_per_connection = 2;
    let server = TestServer::start_with(narrow).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { pool(&mut client, "bob", "phone").await.available })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_call_ends_after_the_longest_time_while_watches_go_on() {
    let hasty = |config: &mut Config| config.limits.call_timeout = SignedDuration::from_secs(2);
    let server = TestServer::start_with(hasty).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "laptop", 1).await; // so that there is a device to lock
    let watched = WatchPoolRequest { user_id: "bob".into(), device_id: "phone".into() };
    let mut watch = client.watch_pool(watched).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();

    let lock = lock_table(&server, "device").await;
    let mut caller = client.clone();
    let package = PackageMaker::new("bob", "laptop").make();
    let upload = upload_request("bob", "laptop", vec![package]);
    let call = tokio::spawn(async move { caller.upload_key_packages(upload).await });
    somebody_waits(server.database()).await;
    let ended = timeout(PATIENCE, call).await.expect("it ends").unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended:?}");
    lock.batch_execute("COMMIT").await.unwrap();

    fill(&mut client, "bob", "phone", 1).await;
    watch.message().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_trickles_ends_after_the_longest_time() {
    let hasty = |config: &mut Config| config.limits.call_timeout = SignedDuration::from_millis(100);
    let server = TestServer::start_with(hasty).await;
    let mut stream = connect(&server).await;
    let head = "POST /keypool.v1.KeyPackageService/GetPoolStatus HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/grpc-web+proto\r\ncontent-length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("grpc-status") {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await.expect("it ends");
        assert_ne!(read.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
    }
    let answer = String::from_utf8_lossy(&answer).replace(": ", ":");
    assert!(answer.contains("grpc-status:4"), "{answer}");
}

#[tokio::test]
async fn an_old_connection_ends_when_its_calls_have() {
    let short = |config: &mut Config| {
        config.limits.connection_age = SignedDuration::from_millis(100);
    };
    let server = TestServer::start_with(short).await;
    let mut stream = connect(&server).await;
    request(&mut stream).await;
    closed(&mut stream).await;
}
