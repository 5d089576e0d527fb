//! Requests as bytes: what no generated client would send.

use keypool_service::testing::server::TestServer;
use prost::bytes::{Buf, BufMut};
use tonic::{
    Request, Response, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

/// Calls a method, named as in `KeyPackageService/GetPoolStatus`, with any bytes for a request.
pub async fn call(server: &TestServer, method: &str, request: Vec<u8>) -> Result<Vec<u8>, Status> {
    let endpoint = Endpoint::from_shared(server.endpoint()).unwrap();
    let mut grpc = Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/keypool.v1.{method}")).unwrap();
    grpc.unary(Request::new(request), path, Raw).await.map(Response::into_inner)
}

/// Calls a method with a bearer token, and returns the first message of its answer, be it a stream or not.
pub async fn call_as(
    channel: &Channel,
    token: Option<&str>,
    method: &str,
    request: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/keypool.v1.{method}")).unwrap();
    let mut request = Request::new(request);
    if let Some(token) = token {
        let authorization = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", authorization);
    }
    let mut answer = grpc.server_streaming(request, path, Raw).await?.into_inner();
    Ok(answer.message().await?.unwrap_or_default())
}

/// A field of bytes, text or a message, as protobuf encodes it.
pub fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    assert!(length < 128, "one byte holds the length");
    [&[number << 3 | 2, length], value].concat()
}

struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}
