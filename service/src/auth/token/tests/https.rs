use super::{Signer, claims, config, jwks, jwks_server::JwksServer};
use crate::{
    auth::token::source::Source,
    config::{JwksLocation, TokensConfig},
};
use std::path::PathBuf;

fn source_config(address: String, ca: Option<PathBuf>) -> TokensConfig {
    TokensConfig { jwks_ca: ca, ..config(JwksLocation::try_from(address).unwrap()) }
}

async fn read(address: String, ca: PathBuf) -> Result<Vec<u8>, String> {
    let source = Source::new(&source_config(address, Some(ca))).unwrap();
    source.read().await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_document_is_read() {
    let server = JwksServer::start("the document").await;
    assert_eq!(read(server.address(), server.ca()).await.unwrap(), b"the document");
    server.serve(&"x".repeat(1024 * 1024));
    assert_eq!(read(server.address(), server.ca()).await.unwrap().len(), 1024 * 1024);
}

#[tokio::test]
async fn only_the_right_server_is_believed() {
    let server = JwksServer::start("").await;
    let stranger = JwksServer::start("").await;
    let error = read(server.address(), stranger.ca()).await.unwrap_err();
    assert!(error.contains("certificate"), "another CA: {error}");
    let error = read(server.other_address(), server.ca()).await.unwrap_err();
    assert!(error.contains("certificate"), "another name: {error}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn answers_that_will_not_do() {
    let server = JwksServer::start("").await;
    let elsewhere = JwksServer::start("elsewhere").await;
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        elsewhere.address()
    );
    let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()
        + &format!("100000\r\n{}\r\n", "x".repeat(1024 * 1024)).repeat(2);
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n{}", "x".repeat(1048577));
    for (answer, said) in [
        (redirect, "302"),
        ("HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}".to_owned(), "503"),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), "204"),
        (long, "more than 1048576 bytes"),
        (endless, "more than 1048576 bytes"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_owned(), "can't read"),
        ("SSH-2.0\r\n\r\n".to_owned(), "can't read"),
        (String::new(), "can't read"),
    ] {
        server.answer(answer);
        let error = read(server.address(), server.ca()).await.unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
    }
    assert_eq!(elsewhere.requests(), 0, "redirects are not followed");
}

#[tokio::test]
async fn a_server_that_is_silent_is_left() {
    let server = JwksServer::start("").await;
    server.keep_back();
    let error = read(server.address(), server.ca()).await.unwrap_err();
    assert_eq!((&*error, server.requests()), ("nothing within 5s", 1));
}

#[tokio::test]
async fn files_are_limited_too() {
    let server = JwksServer::start("").await;
    let file = server.file("long", &"x".repeat(1024 * 1024 + 1));
    let source = Source::new(&config(JwksLocation::File(file))).unwrap();
    assert!(source.read().await.unwrap_err().to_string().contains("more than"));
    let source = Source::new(&config(JwksLocation::File("/nowhere".into()))).unwrap();
    assert!(source.read().await.unwrap_err().to_string().contains("can't read the file"));
}

#[tokio::test]
async fn certificates_to_trust_are_needed() {
    let server = JwksServer::start("").await;
    for (ca, said) in [
        (server.file("empty.pem", ""), "must hold certificates in PEM"),
        (server.file("key.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"), "must hold certificates"),
        (PathBuf::from("/nowhere"), "can't read"),
    ] {
        let error = Source::new(&source_config(server.address(), Some(ca))).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("auth.tokens.jwks_ca") && error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn tokens_are_verified_by_keys_that_were_read() {
    let signer = Signer::ec("a");
    let server = JwksServer::start(&jwks(&[&signer])).await;
    let config = source_config(server.address(), Some(server.ca()));
    let clock = std::sync::Arc::new(crate::clock::ShiftedClock::default());
    let tokens = crate::auth::token::TokenVerifier::new(
        &config,
        clock,
        &crate::supervise::Supervisor::default(),
    )
    .unwrap();
    assert!(tokens.verify(&signer.sign(&claims())).await.is_ok());
}
