//! TLS, with certificates made for the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use keypool_client::{Client, ClientBuilder, ConfigError, Error, RetryPolicy, TlsConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use support::*;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this name, and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// Serves as `localhost`. Returns the endpoint by name.
    async fn serve(&self, clients: Option<&Authority>) -> (Arc<Fake>, ClientBuilder) {
        let (certificate, key) = self.issue("localhost");
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        let tls = match clients {
            Some(clients) => tls.client_ca_root(Certificate::from_pem(clients.root())),
            None => tls,
        };
        let (fake, endpoint) = Fake::serve(Server::builder().tls_config(tls).unwrap()).await;
        fake.status.always(Ok(some_status()));
        let endpoint = endpoint.replace("http://127.0.0.1", "https://localhost");
        let builder = Client::builder(endpoint).timeout(Duration::from_secs(10));
        (fake, builder.retry(RetryPolicy::never()))
    }

    fn trusted(&self) -> TlsConfig {
        TlsConfig::new().root_certificates(self.root())
    }
}

async fn call(builder: ClientBuilder) -> keypool_client::Result<()> {
    builder.connect().await?.pool_status("bob", "phone").await.map(drop)
}

fn assert_refused(result: keypool_client::Result<()>, why: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Transport(_)), "{error:?}");
    assert!(error.to_string().contains(why), "{error}");
}

#[tokio::test]
async fn a_root_of_ones_own_is_trusted() {
    let authority = Authority::new("servers");
    let (fake, builder) = authority.serve(None).await;

    call(builder.clone().tls(authority.trusted())).await.unwrap();
    let several = format!("{}{}", Authority::new("another").root(), authority.root());
    call(builder.tls(TlsConfig::new().root_certificates(several))).await.unwrap();

    assert_eq!(fake.status.requests().len(), 2);
}

#[tokio::test]
async fn an_unknown_root_is_refused() {
    let (fake, builder) = Authority::new("servers").serve(None).await;
    assert_refused(call(builder.tls(Authority::new("another").trusted())).await, "UnknownIssuer");
    assert!(fake.status.requests().is_empty());
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (fake, builder) = servers.serve(Some(&clients)).await;

    let (certificate, key) = clients.issue("back-end.example");
    call(builder.tls(servers.trusted().client_certificate(certificate, key))).await.unwrap();

    assert_eq!(fake.status.requests().len(), 1);
}

#[tokio::test]
async fn without_a_client_certificate_that_is_asked_for_calls_fail() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (fake, builder) = servers.serve(Some(&clients)).await;

    assert_refused(call(builder.clone().tls(servers.trusted())).await, "");
    let (certificate, key) = Authority::new("another").issue("stranger.example");
    let stranger = servers.trusted().client_certificate(certificate, key);
    assert_refused(call(builder.tls(stranger)).await, "");

    assert!(fake.status.requests().is_empty());
}

#[tokio::test]
async fn the_name_of_the_server_counts() {
    let authority = Authority::new("servers");
    let (_fake, builder) = authority.serve(None).await;
    let another = authority.trusted().server_name("another.example");
    assert_refused(call(builder.tls(another)).await, "not valid for name");
}

#[tokio::test]
async fn the_name_of_the_server_can_be_given() {
    let authority = Authority::new("servers");
    let (certificate, key) = authority.issue("keypool.internal");
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    let (fake, endpoint) = Fake::serve(Server::builder().tls_config(tls).unwrap()).await;
    fake.status.always(Ok(some_status()));

    let builder = Client::builder(endpoint.replace("http", "https"));
    call(builder.tls(authority.trusted().server_name("keypool.internal"))).await.unwrap();
}

#[tokio::test]
async fn an_address_that_was_looked_up_is_still_known_by_its_name() {
    let authority = Authority::new("servers");
    let (fake, builder) = authority.serve(None).await;
    let builder = builder.retry(RetryPolicy::default()).resolve_every(Duration::from_millis(100));
    let client = builder.tls(authority.trusted()).connect().await.unwrap();

    // The first call is by the name itself, and later ones by its addresses.
    while fake.status.connections() < 2 {
        client.pool_status("bob", "phone").await.unwrap();
    }
}

#[tokio::test]
async fn settings_that_can_not_work_are_refused_at_once() {
    let refused = |endpoint: &str, tls: TlsConfig| match Client::builder(endpoint)
        .tls(tls)
        .connect_lazy()
        .unwrap_err()
    {
        Error::Configuration(error) => error,
        error => panic!("{error:?}"),
    };
    let trusted = Authority::new("another").trusted();

    let error = refused("http://localhost", trusted.clone());
    assert!(matches!(error, ConfigError::NotHttps { .. }), "{error:?}");
    let error = refused("https://localhost", TlsConfig::new().root_certificates("no PEM"));
    assert!(matches!(error, ConfigError::Tls(_)), "{error:?}");
    let error = refused("https://localhost", trusted.clone().client_certificate("no", "PEM"));
    assert!(matches!(error, ConfigError::Tls(_)), "{error:?}");
    let error = refused("https://localhost", trusted.server_name("no name"));
    assert!(matches!(error, ConfigError::Tls(_)), "{error:?}");
}

#[cfg(not(any(feature = "tls-native-roots", feature = "tls-webpki-roots")))]
#[tokio::test]
async fn nobody_is_trusted_by_default() {
    let result = Client::builder("https://localhost").connect_lazy();
    assert!(matches!(result, Err(Error::Configuration(ConfigError::NoRoots))), "{result:?}");
}

#[test]
fn keys_are_not_shown() {
    let config = TlsConfig::new().client_certificate("certificate", "secret");
    let shown = format!("{config:?} {:?}", Client::builder("https://a").tls(config.clone()));
    assert!(!shown.contains("secret") && !shown.contains(&format!("{:?}", b"secret")), "{shown}");
}
