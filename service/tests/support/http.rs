//! Plain HTTP/1.1, as a probe or a browser speaks it.

use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The header lines, in lower case.
    pub headers: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub async fn get(address: SocketAddr, path: &str) -> Response {
    send(address, &format!("GET {path}"), "", b"").await
}

pub async fn post(address: SocketAddr, path: &str, content_type: &str, body: &[u8]) -> Response {
    let headers = format!("content-type: {content_type}\r\ncontent-length: {}\r\n", body.len());
    send(address, &format!("POST {path}"), &headers, body).await
}

async fn send(address: SocketAddr, method: &str, headers: &str, body: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("{method} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    parse(&answer)
}

fn parse(answer: &[u8]) -> Response {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let headers = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    let body = &answer[end + 4..];
    let body =
        if headers.contains("transfer-encoding: chunked") { dechunk(body) } else { body.to_vec() };
    Response { status, headers, body }
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = std::str::from_utf8(&rest[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return body;
        }
        let start = end + 2;
        body.extend(&rest[start..start + length]);
        rest = &rest[start + length + 2..];
    }
}
