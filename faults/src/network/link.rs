//! One way through the network, as others connect to it.

use super::pipe;
use std::{io, net::SocketAddr, path::PathBuf, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};

/// What is at the other end.
#[derive(Debug, Clone)]
pub(crate) enum Upstream {
    /// Nobody.
    Nobody,
    /// A port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// What happens to what passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// New connections are closed at once.
    pub(super) refuses: bool,
    /// Bytes are taken and stay here.
    pub(super) black_hole: bool,
    /// Bytes that answer are lost.
    pub(super) loses_replies: bool,
    /// Bytes arrive so much later.
    pub(super) delay: Duration,
    /// Connections of an earlier age are broken.
    pub(super) age: u64,
}

/// A way through the network.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    upstream: watch::Sender<Upstream>,
    conditions: watch::Sender<Conditions>,
}

impl Link {
    /// Opens a way to somebody.
    pub(crate) async fn open(upstream: Upstream) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let upstream = watch::Sender::new(upstream);
        let conditions = watch::Sender::new(Conditions::default());
        tokio::spawn(accept(listener, upstream.subscribe(), conditions.subscribe()));
        Ok(Self { address, upstream, conditions })
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on leads to somebody else.
    pub(crate) fn lead_to(&self, upstream: Upstream) {
        self.upstream.send_replace(upstream);
    }

    /// Breaks every connection.
    pub(crate) fn cut(&self) {
        self.conditions.send_modify(|conditions| conditions.age += 1);
    }

    /// Closes new connections at once.
    pub(crate) fn refuse(&self) {
        self.conditions.send_modify(|conditions| conditions.refuses = true);
    }

    /// Takes all and passes on nothing.
    pub(crate) fn swallow(&self) {
        self.conditions.send_modify(|conditions| conditions.black_hole = true);
    }

    /// Passes on what is asked, and not what is answered.
    pub(crate) fn lose_replies(&self) {
        self.conditions.send_modify(|conditions| conditions.loses_replies = true);
    }

    /// Passes everything on so much later.
    pub(crate) fn delay(&self, delay: Duration) {
        self.conditions.send_modify(|conditions| conditions.delay = delay);
    }

    /// Passes everything on. Connections of which bytes were lost break.
    pub(crate) fn heal(&self) {
        self.conditions.send_modify(|conditions| {
            let has_lost = conditions.black_hole || conditions.loses_replies;
            let age = conditions.age + u64::from(has_lost);
            *conditions = Conditions { age, ..Conditions::default() };
        });
    }
}

/// Accepts connections for as long as there is a [`Link`].
async fn accept(
    listener: TcpListener,
    upstream: watch::Receiver<Upstream>,
    mut conditions: watch::Receiver<Conditions>,
) {
    loop {
        let connection = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => connection,
                Err(_) => continue,
            },
            changed = conditions.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        if conditions.borrow().refuses {
            continue;
        }
        let upstream = upstream.borrow().clone();
        tokio::spawn(connect(connection, upstream, conditions.clone()));
    }
}

/// Connects the two ends.
async fn connect(
    connection: TcpStream,
    upstream: Upstream,
    conditions: watch::Receiver<Conditions>,
) {
    let _ = connection.set_nodelay(true);
    match upstream {
        Upstream::Nobody => {}
        Upstream::Tcp(address) => {
            let Ok(other) = TcpStream::connect(address).await else { return };
            let _ = other.set_nodelay(true);
            pipe::join(connection, other, conditions).await;
        }
        Upstream::Unix(path) => {
            let Ok(other) = UnixStream::connect(path).await else { return };
            pipe::join(connection, other, conditions).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    const A_WHILE: Duration = Duration::from_millis(100);

    /// A link to somebody who answers each byte with the same.
    async fn echo() -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = connection.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Link::open(Upstream::Tcp(address)).await.unwrap()
    }

    async fn answers(connection: &mut TcpStream) -> bool {
        let mut byte = [0];
        let asked = async {
            connection.write_all(b"x").await?;
            connection.read_exact(&mut byte).await
        };
        matches!(timeout(A_WHILE, asked).await, Ok(Ok(1)))
    }

    async fn open(link: &Link) -> TcpStream {
        TcpStream::connect(link.address()).await.unwrap()
    }

    #[tokio::test]
    async fn passes_on_unless_told_otherwise() {
        let link = echo().await;
        let mut connection = open(&link).await;
        assert!(answers(&mut connection).await);
        link.lead_to(Upstream::Nobody);
        assert!(answers(&mut connection).await, "those that are open stay");
        assert!(!answers(&mut open(&link).await).await);
    }

    #[tokio::test]
    async fn each_fault_stops_it_until_it_is_healed() {
        let link = echo().await;
        for fault in [Link::swallow, Link::lose_replies] {
            let mut connection = open(&link).await;
            assert!(answers(&mut connection).await);
            fault(&link);
            assert!(!answers(&mut connection).await);
            link.heal();
            assert!(!answers(&mut connection).await, "what has lost bytes is broken");
            assert!(answers(&mut open(&link).await).await);
        }
        link.refuse();
        assert!(!answers(&mut open(&link).await).await);
        link.heal();
        let mut connection = open(&link).await;
        assert!(answers(&mut connection).await);
        link.cut();
        assert!(!answers(&mut connection).await);
        assert!(answers(&mut open(&link).await).await);
    }

    #[tokio::test]
    async fn a_delay_loses_nothing() {
        let link = echo().await;
        let mut connection = open(&link).await;
        link.delay(A_WHILE);
        assert!(!answers(&mut connection).await);
        let mut late = [0];
        connection.read_exact(&mut late).await.unwrap();
        link.heal();
        assert!(answers(&mut connection).await);
    }
}
