use super::{Signer, Verifier, claims, claims_with, config, jwks, jwks_server::JwksServer};
use crate::{
    auth::{
        TokenError,
        token::{TokenVerifier, VerificationError},
    },
    clock::ShiftedClock,
    config::{JwksLocation, TokensConfig},
};
use jiff::SignedDuration;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::{JoinSet, yield_now};

const UNKNOWN: VerificationError = VerificationError::Token(TokenError::UnknownKey);

/// A verifier of a server's keys, which are read again only when somebody wants it.
struct Remote {
    server: JwksServer,
    tokens: Arc<TokenVerifier>,
    clock: ShiftedClock,
}

impl Remote {
    async fn start(signers: &[&Signer]) -> Self {
        let server = JwksServer::start(&jwks(signers)).await;
        let jwks = JwksLocation::try_from(server.address()).unwrap();
        let config = TokensConfig {
            jwks_ca: Some(server.ca()),
            refresh_interval: SignedDuration::from_hours(24),
            ..config(jwks)
        };
        let clock = ShiftedClock::default();
        let tokens = TokenVerifier::new(
            &config,
            Arc::new(clock.clone()),
            &crate::supervise::Supervisor::default(),
        )
        .unwrap();
        Self { server, tokens: Arc::new(tokens), clock }
    }

    async fn accepts(&self, signer: &Signer) -> bool {
        match self.tokens.verify(&signer.sign(&claims())).await {
            Ok(_) => true,
            Err(UNKNOWN) => false,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Tries until it holds.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let tries = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), tries).await.expect("it holds at last");
}

#[tokio::test]
async fn unknown_keys_are_asked_for_but_not_too_often() {
    let (first, second, third) = (Signer::ec("1"), Signer::ec("2"), Signer::ec("3"));
    let remote = Remote::start(&[&first]).await;
    assert!(remote.accepts(&first).await);
    assert_eq!(remote.server.requests(), 1);

    remote.server.serve(&jwks(&[&first, &second]));
    assert!(remote.accepts(&second).await, "the issuer's new key");
    assert_eq!(remote.server.requests(), 2);

    remote.server.serve(&jwks(&[&third]));
    for _ in 0..10 {
        assert!(!remote.accepts(&third).await, "too soon");
    }
    assert!(remote.accepts(&first).await);
    assert_eq!(remote.server.requests(), 2);

    remote.clock.advance(SignedDuration::from_secs(30));
    assert!(remote.accepts(&third).await);
    assert_eq!(remote.server.requests(), 3);
    for removed in [&first, &second] {
        assert!(!remote.accepts(removed).await, "also if its token was accepted before");
    }
    assert_eq!(remote.server.requests(), 3);
}

#[tokio::test]
async fn those_that_ask_at_the_same_time_share_a_read() {
    let (known, new) = (Signer::ec("known"), Signer::ec("new"));
    let remote = Remote::start(&[&known]).await;
    assert!(remote.accepts(&known).await);
    remote.server.serve(&jwks(&[&known, &new]));
    remote.server.keep_back();

    let asked = Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    for n in 0..50 {
        let (tokens, asked) = (remote.tokens.clone(), asked.clone());
        let signer = if n % 2 == 0 { &new } else { &Signer::ec("nobody's") };
        let token = signer.sign(&claims_with(json!({ "sub": format!("user {n}") })));
        calls.spawn(async move {
            asked.fetch_add(1, Ordering::SeqCst);
            (n, tokens.verify(&token).await)
        });
    }
    // There is one thread: once a call has counted itself it has run until it waits.
    while asked.load(Ordering::SeqCst) < 50 || remote.server.requests() < 2 {
        yield_now().await;
    }
    remote.server.let_out();
    while let Some(call) = calls.join_next().await {
        let (n, verified) = call.unwrap();
        assert_eq!(verified.is_ok(), n % 2 == 0, "{n}: {verified:?}");
    }
    assert!(!remote.accepts(&Signer::ec("nobody's")).await);
    assert_eq!(remote.server.requests(), 2);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_interrupt_a_read() {
    let (known, new) = (Signer::ec("known"), Signer::ec("new"));
    let remote = Remote::start(&[&known]).await;
    assert!(remote.accepts(&known).await);
    remote.server.serve(&jwks(&[&known, &new]));
    remote.server.keep_back();
    let (tokens, token) = (remote.tokens.clone(), new.sign(&claims()));
    let call = tokio::spawn(async move { tokens.verify(&token).await });
    until(async || remote.server.requests() == 2).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    remote.server.let_out();
    until(async || remote.accepts(&new).await).await;
    assert_eq!(remote.server.requests(), 2);
}

#[tokio::test]
async fn keys_stay_when_a_read_fails() {
    let signer = Signer::ec("1");
    let remote = Remote::start(&[&signer]).await;
    assert!(remote.accepts(&signer).await);
    for answer in ["HTTP/1.1 500 Oh\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{", ""] {
        let before = remote.server.requests();
        remote.server.answer(answer.to_owned());
        remote.clock.advance(SignedDuration::from_secs(30));
        assert!(!remote.accepts(&Signer::ec("2")).await);
        assert!(remote.server.requests() > before);
        assert!(remote.accepts(&signer).await);
    }
}

#[tokio::test]
async fn keys_that_come_late() {
    let signer = Signer::ec("1");
    let verifier = Verifier::with(&[], |config| {
        let JwksLocation::File(file) = &config.jwks else { unreachable!() };
        std::fs::remove_file(file).unwrap();
        config.refresh_interval = SignedDuration::from_millis(5);
    });
    let token = signer.sign(&claims());
    let unavailable = Err(VerificationError::KeysUnavailable);
    assert_eq!(verifier.tokens.verify(&token).await, unavailable);
    assert_eq!(verifier.tokens.verify("no token").await, unavailable);
    verifier.replace_file("no keys either");
    assert_eq!(verifier.tokens.verify(&token).await, unavailable);
    verifier.replace_file(&jwks(&[&signer]));
    until(async || verifier.tokens.verify(&token).await.is_ok()).await;
}

#[tokio::test]
async fn a_file_that_changes_is_read_again() {
    let (first, second) = (Signer::ec("1"), Signer::ec("2"));
    let verifier = Verifier::with(&[&first], |config| {
        config.refresh_interval = SignedDuration::from_millis(5);
    });
    let (old, new) = (first.sign(&claims()), second.sign(&claims()));
    assert!(verifier.tokens.verify(&old).await.is_ok());
    verifier.replace_file(&jwks(&[&second]));
    until(async || verifier.tokens.verify(&old).await == Err(UNKNOWN)).await;
    assert!(verifier.tokens.verify(&new).await.is_ok());
    // The same name, another key.
    let stranger = Signer::ec("2");
    verifier.replace_file(&jwks(&[&stranger]));
    let wrong = Err(VerificationError::Token(TokenError::WrongSignature));
    until(async || verifier.tokens.verify(&new).await == wrong).await;
}

#[tokio::test]
async fn reads_end_with_the_verifier() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(JwksLocation::File(directory.path().join("jwks.json")));
    let clock = Arc::new(ShiftedClock::default());
    let tokens =
        TokenVerifier::new(&config, clock.clone(), &crate::supervise::Supervisor::default())
            .unwrap();
    assert!(Arc::strong_count(&clock) > 1);
    drop(tokens);
    until(async || Arc::strong_count(&clock) == 1).await;
}
