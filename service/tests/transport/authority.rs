//! Certificates made for the test.

use super::support::Client;
use keypool_service::{
    config::{Config, TlsConfig},
    testing::server::TestServer,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData,
    date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion, crypto::ring, pki_types::CertificateDer,
};
use std::{path::PathBuf, sync::Arc};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};

/// Who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
    /// The certificate's public key.
    pub public: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::of(name, CertificateParams::default())
    }

    /// One whose own certificate has expired, though those that it signs have not.
    pub fn expired(name: &str) -> Self {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) =
            (date_time_ymd(2000, 1, 1), date_time_ymd(2010, 1, 1));
        Self::of(name, params)
    }

    fn of(name: &str, mut params: CertificateParams) -> Self {
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn root(&self) -> String {
        self.0.pem()
    }

    pub fn issue(&self, name: &str) -> Pair {
        self.sign(CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// A certificate without a name but the subject's.
    pub fn issue_to_user(&self, name: &str) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        let public = key.subject_public_key_info();
        Pair { certificate, key: key.serialize_pem(), public }
    }

    /// How to call a server whose certificate is from this authority.
    pub fn trusted(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.root()))
    }

    /// Shakes hands with a server whose certificate is from this authority.
    pub async fn handshake(
        &self,
        server: &TestServer,
        version: &'static SupportedProtocolVersion,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = TcpStream::connect(server.server().address()).await.unwrap();
        let name = "localhost".try_into().unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

/// The certificate that a server showed.
pub fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// The files that a server's settings name.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A server's settings for a certificate.
    pub fn settings(&self, pair: &Pair) -> TlsConfig {
        TlsConfig::new(self.write("tls.crt", &pair.certificate), self.write("tls.key", &pair.key))
    }
}

/// A service with TLS as `localhost`, with changes to the settings. The files go when they are dropped.
pub async fn serve(
    authority: &Authority,
    configure: impl FnOnce(&Files, &mut Config, &mut TlsConfig),
) -> (TestServer, Files) {
    let files = Files::new();
    let mut tls = files.settings(&authority.issue("localhost"));
    let server = TestServer::start_with(|config| {
        configure(&files, config, &mut tls);
        config.tls = Some(tls);
    })
    .await;
    (server, files)
}

/// A channel by TLS.
pub async fn channel(server: &TestServer, tls: ClientTlsConfig) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(server.endpoint()).unwrap();
    endpoint.tls_config(tls.domain_name("localhost")).unwrap().connect().await
}

pub async fn client(server: &TestServer, tls: ClientTlsConfig) -> Client {
    Client::new(channel(server, tls).await.unwrap())
}

pub fn identity(pair: &Pair) -> Identity {
    Identity::from_pem(&pair.certificate, &pair.key)
}
