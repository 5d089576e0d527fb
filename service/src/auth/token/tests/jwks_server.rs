use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

/// Answers every request by HTTPS on loopback, with a certificate of a CA of its own.
pub(super) struct JwksServer {
    port: u16,
    directory: TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Mutex<String>,
    requests: AtomicUsize,
    /// One permit lets one answer out.
    gate: Semaphore,
}

impl JwksServer {
    pub(super) async fn start(document: &str) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .signed_by(&key, &Issuer::new(ca, ca_key))
            .unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), ca_certificate.pem()).unwrap();

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            answer: Mutex::new(ok(document)),
            requests: AtomicUsize::new(0),
            gate: Semaphore::new(1000),
        });
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), shared.clone()));
        Self { port, directory, shared }
    }

    /// Its address by the name that its certificate has.
    pub(super) fn address(&self) -> String {
        format!("https://localhost:{}/jwks.json", self.port)
    }

    /// Its address by a name that its certificate has not.
    pub(super) fn other_address(&self) -> String {
        format!("https://127.0.0.1:{}/jwks.json", self.port)
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A file beside the CA's.
    pub(super) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(Path::new(name));
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(super) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// From now on answers with this document.
    pub(super) fn serve(&self, document: &str) {
        self.answer(ok(document));
    }

    /// From now on answers with these bytes.
    pub(super) fn answer(&self, answer: String) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// Keeps answers back until they are let out.
    pub(super) fn keep_back(&self) {
        self.shared.gate.forget_permits(1000);
    }

    pub(super) fn let_out(&self) {
        self.shared.gate.add_permits(1000);
    }
}

fn ok(document: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{document}", document.len())
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, shared) = (tls.clone(), shared.clone());
        // A client that doesn't trust the certificate leaves, which is no failure here.
        tokio::spawn(async move { answer(stream, tls, &shared).await.ok() });
    }
}

async fn answer(stream: TcpStream, tls: TlsAcceptor, shared: &Shared) -> io::Result<()> {
    let mut stream = tls.accept(stream).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    shared.requests.fetch_add(1, Ordering::SeqCst);
    shared.gate.acquire().await.unwrap().forget();
    let answer = shared.answer.lock().unwrap().clone();
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
