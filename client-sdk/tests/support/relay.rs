//! Passes bytes on, until its connections fall silent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Stands before a server.
pub(crate) struct Relay {
    pub(crate) endpoint: String,
    silence: Arc<Mutex<CancellationToken>>,
    connections: Arc<AtomicUsize>,
}

impl Relay {
    pub(crate) async fn start(endpoint: &str) -> Self {
        let server = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let silence = Arc::<Mutex<CancellationToken>>::default();
        let current = silence.clone();
        let connections = Arc::<AtomicUsize>::default();
        let counted = connections.clone();
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let mut far = TcpStream::connect(&server).await.unwrap();
                let silent = current.lock().unwrap().clone();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        // Open for ever, and nothing comes through.
                        () = silent.cancelled() => std::future::pending().await,
                    }
                });
            }
        });
        Self { endpoint, silence, connections }
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// From now on the connections that there are say nothing, and new ones work.
    pub(crate) fn fall_silent(&self) {
        std::mem::take(&mut *self.silence.lock().unwrap()).cancel();
    }
}
