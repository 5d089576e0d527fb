//! A client of HTTP/2 that says of each frame when it is sent, and how much it takes.

use h2::{
    RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use prost::bytes::Bytes;
use std::net::SocketAddr;
use tokio::{net::TcpStream, task::AbortHandle};
use tonic::codegen::http::{Request, Response, Uri};

/// A connection, until it is dropped.
pub struct Attacker {
    address: SocketAddr,
    send: SendRequest<Bytes>,
    connection: AbortHandle,
    /// Calls that are not to end.
    open: Vec<(ResponseFuture, SendStream<Bytes>)>,
    answers: Vec<(Response<RecvStream>, SendStream<Bytes>)>,
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Attacker {
    /// Connects, and lets each answer send so many bytes.
    pub async fn connect(address: SocketAddr, window: u32) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        let mut builder = Builder::new();
        builder.initial_window_size(window).max_concurrent_reset_streams(1000);
        let (send, connection) = builder.handshake(stream).await.ok()?;
        let connection = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Some(Self { address, send, connection, open: Vec::new(), answers: Vec::new() })
    }

    /// Begins a call, whose answer is waited for by nobody.
    pub async fn call(&mut self, path: &str, headers: &[(&str, &str)], end: bool) -> bool {
        let Ok(mut send) = self.send.clone().ready().await else { return false };
        let uri: Uri = format!("http://{}{path}", self.address).parse().unwrap();
        let mut request = Request::post(uri).header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match send.send_request(request.header("te", "trailers").body(()).unwrap(), end) {
            Ok(call) => {
                self.open.push(call);
                true
            }
            Err(_) => false,
        }
    }

    /// Sends bytes on the last call, as far as the service takes them, and does not end it.
    pub async fn send(&mut self, bytes: Bytes) -> bool {
        let Some((_, stream)) = self.open.last_mut() else { return false };
        let mut rest = bytes;
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            let granted = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
            let Some(Ok(granted)) = granted else { return false };
            if stream.send_data(rest.split_to(granted.min(rest.len())), false).is_err() {
                return false;
            }
        }
        true
    }

    /// Sends a whole message and ends the call.
    pub async fn send_message(&mut self, message: &[u8]) -> bool {
        let Some((_, stream)) = self.open.last_mut() else { return false };
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let framed = [&[0], &length[..], message].concat();
        stream.send_data(framed.into(), true).is_ok()
    }

    /// Waits until the last call's answer begins, of which nothing more is taken.
    pub async fn answered(&mut self) -> bool {
        let Some((answer, stream)) = self.open.pop() else { return false };
        let answer = answer.await;
        let begun = answer.is_ok();
        self.answers.extend(answer.map(|answer| (answer, stream)));
        begun
    }

    /// Whether the connection is still there.
    pub async fn is_open(&mut self) -> bool {
        self.send.clone().ready().await.is_ok()
    }
}

/// The beginning of a message of so many bytes.
pub fn beginning(length: u32) -> Bytes {
    [&[0], &length.to_be_bytes()[..]].concat().into()
}
