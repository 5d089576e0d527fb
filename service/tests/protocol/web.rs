//! gRPC-Web: what a browser sends, over HTTP/1.1.

use super::support::{client, fill, http};
use keypool_proto::v1::{GetPoolStatusRequest, GetPoolStatusResponse};
use keypool_service::testing::server::TestServer;
use prost::Message;

const TRAILERS: u8 = 0x80;
const CONTENT_TYPE: &str = "application/grpc-web+proto";

/// A frame: what it is, its length, and its bytes.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), message].concat()
}

fn frames(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [kind, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        frames.push((*kind, rest[..length].to_vec()));
        body = &rest[length..];
    }
    frames
}

async fn get_pool_status(server: &TestServer, user: &str) -> http::Response {
    let request = GetPoolStatusRequest { user_id: user.into(), device_id: String::new() };
    let path = "/keypool.v1.KeyPackageService/GetPoolStatus";
    let body = frame(&request.encode_to_vec());
    http::post(server.server().address(), path, CONTENT_TYPE, &body).await
}

#[tokio::test]
async fn a_browser_gets_its_answer_and_the_trailers_in_the_body() {
    let server = TestServer::start().await;
    fill(&mut client(&server).await, "bob", "phone", 3).await;
    let response = get_pool_status(&server, "bob").await;
    assert_eq!(response.status, 200);
    assert!(response.headers.contains(&format!("content-type: {CONTENT_TYPE}")), "{response:?}");
    let frames = frames(&response.body);
    let [(0, message), (TRAILERS, trailers)] = frames.as_slice() else { panic!("{frames:?}") };
    let status = GetPoolStatusResponse::decode(message.as_slice()).unwrap();
    assert_eq!(status.devices[0].pools[0].available, 3);
    assert!(String::from_utf8_lossy(trailers).contains("grpc-status:0"), "{trailers:?}");
}

#[tokio::test]
async fn a_browser_gets_errors_with_their_details() {
    let server = TestServer::start().await;
    for (user, status) in [("nobody", "5"), ("", "3")] {
        let response = get_pool_status(&server, user).await;
        assert_eq!(response.status, 200);
        let trailers = String::from_utf8_lossy(&response.body).to_lowercase();
        let all = format!("{}\r\n{trailers}", response.headers).replace(": ", ":");
        assert!(all.contains(&format!("grpc-status:{status}")), "{response:?}");
        assert!(all.contains("grpc-status-details-bin:"), "{response:?}");
    }
}
