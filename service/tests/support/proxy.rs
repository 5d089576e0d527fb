//! A network that loses replies.

use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
};

/// A proxy in front of a service. Requests always pass.
pub struct Proxy {
    address: SocketAddr,
    losing: watch::Sender<bool>,
}

impl Proxy {
    pub async fn before(endpoint: &str) -> Self {
        let service: SocketAddr = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let losing = watch::Sender::new(false);
        let changes = losing.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, service, changes.clone()));
            }
        });
        Self { address, losing }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on replies are lost.
    pub fn lose_replies(&self) {
        self.losing.send_replace(true);
    }

    /// Breaks every connection. New ones work.
    pub fn cut(&self) {
        self.losing.send_replace(false);
    }
}

async fn carry(client: TcpStream, service: SocketAddr, mut losing: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(service).await else { return };
    losing.mark_unchanged();
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        () = replies(from_server, to_client, losing) => {}
    }
}

/// Passes replies on, or loses them, until the connection breaks.
async fn replies(
    mut from_server: OwnedReadHalf,
    mut to_client: OwnedWriteHalf,
    mut losing: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            biased;
            changed = losing.changed() => {
                if changed.is_err() || !*losing.borrow_and_update() {
                    return;
                }
            }
            read = from_server.read(&mut buffer) => {
                let Ok(length @ 1..) = read else { return };
                if !*losing.borrow() && to_client.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
