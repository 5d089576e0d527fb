//! A network between a service and its database.

use keypool_service::testing::database::TestDatabase;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    sync::watch,
};
use tokio_postgres::config::Host;

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Up,
    /// Every connection is ended, and new ones are as soon as they are made.
    Refusing,
    /// Whatever is sent vanishes, and nobody is told. Connections that are there now stay silent for ever.
    Silent,
}

/// What connections to a database go through.
pub struct Network {
    socket: TempDir,
    link: watch::Sender<Link>,
    made: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Network {
    pub fn before(database: &TestDatabase) -> Self {
        let config = database.config();
        let [Host::Unix(folder)] = config.get_hosts() else { unreachable!() };
        let upstream = folder.join(".s.PGSQL.5432");
        let socket = TempDir::new().unwrap();
        let listener = UnixListener::bind(socket.path().join(".s.PGSQL.5432")).unwrap();
        let link = watch::Sender::new(Link::Up);
        let (made, open) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let network = Self { socket, link, made, open };
        let (link, made) = (network.link.subscribe(), network.made.clone());
        let open = network.open.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                made.fetch_add(1, Ordering::Relaxed);
                let carried = carry(client, upstream.clone(), link.clone());
                let open = open.clone();
                tokio::spawn(async move {
                    open.fetch_add(1, Ordering::Relaxed);
                    carried.await;
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        network
    }

    /// Leads a URL of the database through it.
    pub fn url(&self, straight: &str) -> String {
        let (before, path) = straight.split_once('@').unwrap();
        let (_, name) = path.split_once('/').unwrap();
        let socket = self.socket.path().to_str().unwrap().replace('/', "%2F");
        format!("{before}@{socket}/{name}")
    }

    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// How many connections were ever made.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// How many connections there are.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

async fn carry(mut client: UnixStream, upstream: PathBuf, mut link: watch::Receiver<Link>) {
    let mut now = *link.borrow_and_update();
    let mut server = None;
    if now == Link::Up {
        let Ok(mut up) = UnixStream::connect(upstream).await else { return };
        tokio::select! {
            biased;
            Ok(()) = link.changed() => now = *link.borrow(),
            _ = copy_bidirectional(&mut client, &mut up) => return,
        }
        server = Some(up);
    }
    if now == Link::Silent {
        gone(&mut client).await;
    }
    drop(server); // the database has not heard of it before either
}

/// Keeps a connection, without a word, until its other end drops it.
async fn gone(client: &mut UnixStream) {
    let _ = tokio::io::copy(client, &mut tokio::io::sink()).await;
}
