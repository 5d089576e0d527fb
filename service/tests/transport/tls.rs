use super::{
    authority::{Authority, Files, channel, client, identity, serve},
    support::{Client, fill, pool},
};
use keypool_proto::v1::GetPoolStatusRequest;
use keypool_service::{
    clock::SystemClock,
    config::{ClientCertificates, Config},
    server::Server,
    testing::server::TestServer,
};
use rustls::{ProtocolVersion, version};
use std::{error::Error, path::PathBuf, sync::Arc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, transport::ClientTlsConfig};

#[tokio::test]
async fn calls_go_by_tls() {
    let authority = Authority::new("servers");
    let (server, _files) = serve(&authority, |_, _, _| {}).await;
    assert!(server.endpoint().starts_with("https://"));
    let mut client = client(&server, authority.trusted()).await;
    fill(&mut client, "bob", "phone", 2).await;
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 2);
}

#[tokio::test]
async fn who_does_not_trust_the_certificate_or_speaks_plain_text_gets_nowhere() {
    let authority = Authority::new("servers");
    let (server, _files) = serve(&authority, |_, _, _| {}).await;
    channel(&server, Authority::new("others").trusted()).await.unwrap_err();
    let plain = server.endpoint().replace("https", "http");
    // The connection may seem to be there until it is used.
    if let Ok(mut plain) = Client::connect(plain).await {
        let status = plain.get_pool_status(GetPoolStatusRequest::default()).await.unwrap_err();
        assert_ne!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    assert!(!is_refused(&server, authority.trusted()).await);
}

#[tokio::test]
async fn versions_1_2_and_1_3_are_spoken_with_both_versions_of_http() {
    let authority = Authority::new("servers");
    let (server, _files) = serve(&authority, |_, _, _| {}).await;
    for (version, spoken) in
        [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let mut stream = authority.handshake(&server, version).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(spoken));
        assert_eq!(session.alpn_protocol(), Some(b"h2".as_slice()));

        // gRPC-Web's HTTP, which the service knows by its first bytes.
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
    }
}

/// Tries a call. With TLS 1.3 a client learns only then that its certificate was refused.
async fn is_refused(server: &TestServer, tls: ClientTlsConfig) -> bool {
    match channel(server, tls).await {
        Ok(channel) => {
            let request = GetPoolStatusRequest::default();
            let status = Client::new(channel).get_pool_status(request).await.unwrap_err();
            // A call that gets through is refused for its missing user id.
            status.code() != Code::InvalidArgument
        }
        Err(_) => true,
    }
}

async fn serve_clients(
    servers: &Authority,
    clients: &Authority,
    wanted: Option<ClientCertificates>,
) -> (TestServer, Files) {
    serve(servers, |files, _, tls| {
        tls.client_ca = Some(files.write("clients.crt", &clients.root()));
        tls.client_certificates = wanted;
    })
    .await
}

#[tokio::test]
async fn a_client_certificate_that_is_required_must_be_shown() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let required = Some(ClientCertificates::Required);
    let (server, _files) = serve_clients(&servers, &clients, required).await;
    let own = identity(&clients.issue("backend.example"));
    assert!(!is_refused(&server, servers.trusted().identity(own)).await);
    assert!(is_refused(&server, servers.trusted()).await);
    let of_another = identity(&Authority::new("clients").issue("backend.example"));
    assert!(is_refused(&server, servers.trusted().identity(of_another)).await);
}

#[tokio::test]
async fn a_client_certificate_that_is_optional_must_be_valid_if_it_is_shown() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (server, _files) = serve_clients(&servers, &clients, None).await;
    let own = identity(&clients.issue("backend.example"));
    assert!(!is_refused(&server, servers.trusted().identity(own)).await);
    assert!(!is_refused(&server, servers.trusted()).await);
    let of_another = identity(&Authority::new("clients").issue("backend.example"));
    assert!(is_refused(&server, servers.trusted().identity(of_another)).await);
}

/// Why a service with these settings does not start.
async fn refusal(certificate: PathBuf, key: PathBuf, client_ca: Option<PathBuf>) -> String {
    let mut tls = keypool_service::config::TlsConfig::new(certificate, key);
    tls.client_ca = client_ca;
    let anywhere = ([127, 0, 0, 1], 0).into();
    let config =
        Config { listen: anywhere, admin_listen: anywhere, tls: Some(tls), ..Config::default() };
    let error = Server::start(&config, Arc::new(SystemClock)).await.unwrap_err();
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said += &format!(": {error}");
        cause = error.source();
    }
    said
}

#[tokio::test]
async fn files_that_can_not_be_used_are_named() {
    let authority = Authority::new("servers");
    let (pair, other) = (authority.issue("localhost"), authority.issue("localhost"));
    let files = Files::new();
    let certificate = files.write("tls.crt", &pair.certificate);
    let key = files.write("tls.key", &pair.key);
    let others_key = files.write("other.key", &other.key);
    let nothing = files.write("nothing.pem", "no PEM");
    let missing = files.path("missing.pem");

    let cases = [
        (missing.clone(), key.clone(), None, ["tls.certificate: can't read", "missing.pem"]),
        (certificate.clone(), missing, None, ["tls.key: can't read", "missing.pem"]),
        (nothing.clone(), key.clone(), None, ["tls.certificate: ", "certificates in PEM"]),
        (certificate.clone(), certificate.clone(), None, ["tls.key: ", "private key in PEM"]),
        (certificate.clone(), others_key, None, ["tls.key: ", "belong together"]),
        (certificate, key, Some(nothing), ["tls.client_ca: ", "certificates in PEM"]),
    ];
    for (certificate, key, client_ca, expected) in cases {
        let said = refusal(certificate, key, client_ca).await;
        assert!(expected.iter().all(|words| said.contains(words)), "{expected:?}: {said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    }
}

#[tokio::test]
async fn a_root_that_has_expired_verifies_nobody() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let expired = Authority::expired("former clients");
    let pair = servers.issue("localhost");
    let files = Files::new();
    let (certificate, key) =
        (files.write("tls.crt", &pair.certificate), files.write("tls.key", &pair.key));
    let alone = files.write("expired.crt", &expired.root());
    let said = refusal(certificate, key, Some(alone)).await;
    assert!(said.contains("tls.client_ca: a root certificate expired at 2010-01-01"), "{said}");

    // As while one root replaces another.
    let (server, _files) = serve(&servers, |files, _, tls| {
        let both = format!("{}{}", expired.root(), clients.root());
        tls.client_ca = Some(files.write("clients.crt", &both));
        tls.client_certificates = Some(ClientCertificates::Required);
    })
    .await;
    let caller = |authority: &Authority| {
        servers.trusted().identity(identity(&authority.issue("backend.example")))
    };
    assert!(!is_refused(&server, caller(&clients)).await);
    assert!(is_refused(&server, caller(&expired)).await);
}
