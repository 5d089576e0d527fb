//! Bearer tokens, against a service with scripted answers.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keypool_client::proto::v1::*;
use keypool_client::{
    Client, ClientBuilder, ConfigError, Error, RetryPolicy, Token, TokenFuture, TokenProvider,
};
use support::*;
use tokio::sync::Semaphore;
use tonic::{Code, Status};

/// Gives `token 1`, `token 2` and so on, each when it has a permit.
struct Issuer {
    issued: AtomicUsize,
    refused: Mutex<Vec<Option<Token>>>,
    permits: Semaphore,
    validity: Duration,
}

impl Issuer {
    fn new(validity: Duration) -> Arc<Self> {
        Arc::new(Self {
            issued: AtomicUsize::new(0),
            refused: Mutex::default(),
            permits: Semaphore::new(1000),
            validity,
        })
    }

    fn issued(&self) -> usize {
        self.issued.load(Ordering::SeqCst)
    }
}

impl TokenProvider for Issuer {
    fn token<'a>(&'a self, refused: Option<&'a Token>) -> TokenFuture<'a> {
        Box::pin(async move {
            self.refused.lock().unwrap().push(refused.cloned());
            let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
            self.permits.acquire().await?.forget();
            Ok(Token::new(format!("token-{number}"))?.valid_for(self.validity))
        })
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn unauthenticated() -> Status {
    failure(Code::Unauthenticated, ErrorReason::Unauthenticated, vec![])
}

#[tokio::test]
async fn one_token_serves_all_calls() {
    let (fake, client) = Fake::start().await;
    fake.status.always(Ok(some_status()));
    let issuer = Issuer::new(HOUR);
    let client = client.token_provider(issuer.clone()).connect().await.unwrap();

    for _ in 0..3 {
        client.on_behalf_of("alice").pool_status("bob", "phone").await.unwrap();
    }

    assert_eq!(fake.status.header("authorization"), ["Bearer token-1"; 3]);
    assert_eq!(issuer.issued(), 1);
}

#[tokio::test]
async fn a_stale_token_is_replaced_before_it_is_refused() {
    let (fake, client) = Fake::start().await;
    fake.status.always(Ok(some_status()));
    let client = client.token_provider(Issuer::new(Duration::ZERO)).connect().await.unwrap();

    client.pool_status("bob", "phone").await.unwrap();
    client.pool_status("bob", "phone").await.unwrap();

    assert_eq!(fake.status.header("authorization"), ["Bearer token-1", "Bearer token-2"]);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let (fake, client) = Fake::start().await;
    let issuer = Issuer::new(HOUR);
    let client = client.token_provider(issuer.clone()).retry(RetryPolicy::never());
    let client = client.connect().await.unwrap();

    fake.status.answer(Err(unauthenticated())).answer(Ok(some_status()));
    client.pool_status("bob", "phone").await.unwrap();
    assert_eq!(fake.status.header("authorization"), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(*issuer.refused.lock().unwrap(), [None, Some(Token::new("token-1").unwrap())]);

    fake.status.always(Err(unauthenticated()));
    let error = client.pool_status("bob", "phone").await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated(_)), "{error:?}");
    assert_eq!(fake.status.requests().len(), 4);
    assert_eq!(issuer.issued(), 3);
}

#[tokio::test]
async fn calls_that_find_it_refused_together_ask_once() {
    let (fake, client) = Fake::start().await;
    let issuer = Issuer::new(HOUR);
    let client = client.token_provider(issuer.clone()).connect().await.unwrap();
    fake.status.answer(Ok(some_status()));
    client.pool_status("bob", "phone").await.unwrap();

    // All wait for the second token.
    for _ in 0..20 {
        fake.status.answer(Err(unauthenticated()));
    }
    fake.status.always(Ok(some_status()));
    let permits = issuer.permits.forget_permits(1000);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.pool_status("bob", "phone").await })
        })
        .collect();
    eventually(|| fake.status.requests().len() == 21 && fake.status.open() == 0).await;
    issuer.permits.add_permits(permits);

    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(issuer.issued(), 2);
    assert_eq!(fake.status.requests().len(), 41);
}

#[tokio::test]
async fn a_dropped_call_does_not_keep_the_others_from_a_token() {
    let (fake, client) = Fake::start().await;
    fake.status.always(Ok(some_status()));
    let issuer = Issuer::new(HOUR);
    let permits = issuer.permits.forget_permits(1000);
    let client = client.token_provider(issuer.clone()).connect().await.unwrap();
    let dropped = client.clone();
    let dropped = tokio::spawn(async move { dropped.pool_status("bob", "phone").await });
    eventually(|| issuer.issued() == 1).await;

    dropped.abort();
    issuer.permits.add_permits(permits);

    client.pool_status("bob", "phone").await.unwrap();
    assert_eq!(fake.status.header("authorization"), ["Bearer token-2"]);
}

#[tokio::test]
async fn waiting_for_a_token_ends_with_the_deadline() {
    let (fake, client) = Fake::start().await;
    let issuer = Issuer::new(HOUR);
    issuer.permits.forget_permits(1000);
    let client = client.token_provider(issuer).timeout(Duration::from_millis(100));
    let error = client.connect().await.unwrap().pool_status("bob", "phone").await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded(_)), "{error:?}");
    assert!(fake.status.requests().is_empty());
}

#[tokio::test]
async fn the_same_token_is_not_tried_twice() {
    let (fake, client) = Fake::start().await;
    fake.status.always(Err(unauthenticated()));
    let client = client.token_provider(Token::new("secret").unwrap()).connect().await.unwrap();

    let error = client.pool_status("bob", "phone").await.unwrap_err();

    assert!(matches!(error, Error::Unauthenticated(_)), "{error:?}");
    assert_eq!(fake.status.header("authorization"), ["Bearer secret"]);
}

#[tokio::test]
async fn a_provider_that_fails_is_asked_again() {
    struct Shaky(AtomicUsize);
    impl TokenProvider for Shaky {
        fn token<'a>(&'a self, _refused: Option<&'a Token>) -> TokenFuture<'a> {
            let answer = match self.0.fetch_add(1, Ordering::SeqCst) {
                1 => Ok(Token::new("secret").unwrap()),
                _ => Err("out of order".into()),
            };
            Box::pin(std::future::ready(answer))
        }
    }
    let (fake, client) = Fake::start().await;
    fake.status.always(Ok(some_status()));

    let twice = client.clone().token_provider(Shaky(AtomicUsize::new(0)));
    twice.connect().await.unwrap().pool_status("bob", "phone").await.unwrap();

    let once = client.token_provider(Shaky(AtomicUsize::new(0))).retry(RetryPolicy::never());
    let error = once.connect().await.unwrap().pool_status("bob", "phone").await.unwrap_err();
    assert!(matches!(error, Error::Token(_)), "{error:?}");
    assert_eq!(error.to_string(), "no token for the keypool service: out of order");
    assert_eq!(fake.status.requests().len(), 1);
}

#[tokio::test]
async fn a_watch_renews_its_token_each_time_it_is_refused() {
    let (fake, client) = Fake::start().await;
    let status = |health: PoolHealth| {
        let pool_status = DevicePoolStatus { health: health.into(), ..Default::default() };
        Ok(WatchPoolResponse { pool_status: Some(pool_status) })
    };
    fake.watch
        .answer(Err(unauthenticated()))
        .answer(Ok(vec![status(PoolHealth::Low), Err(unauthenticated())]))
        .answer(Ok(vec![status(PoolHealth::Healthy), Err(unauthenticated())]))
        .answer(Err(unauthenticated()));
    let client = client.token_provider(Issuer::new(HOUR)).connect().await.unwrap();
    let mut watch = client.watch_pool("bob", "phone");

    watch.next().await.unwrap();
    watch.next().await.unwrap();
    let error = watch.next().await.unwrap_err();

    assert!(matches!(error, Error::Unauthenticated(_)), "{error:?}");
    let sent = fake.watch.header("authorization");
    let tokens = ["Bearer token-1", "Bearer token-2", "Bearer token-3", "Bearer token-4"];
    assert_eq!(sent, tokens);
}

#[tokio::test]
async fn tokens_are_not_shown() {
    let (_fake, builder) = Fake::start().await;
    let builder = builder.token_provider(Token::new("secret").unwrap());
    let shown = format!("{builder:?} {:?}", builder.clone().connect().await.unwrap());
    assert!(!shown.contains("secret"), "{shown}");
}

const ELSEWHERE: [&str; 13] = [
    "http://192.0.2.1:50051",
    "http://10.0.0.1:50051",
    "http://0.0.0.0:50051",
    "http://128.0.0.1:50051",
    "http://[2001:db8::1]:50051",
    "http://[::]:50051",
    "http://keypool.internal",
    "http://127.0.0.1.example:50051",
    "http://localhost.example:50051",
    "http://notlocalhost:50051",
    "http://localhost@keypool.example:50051",
    "HTTP://keypool.example:50051",
    // Some systems take it for 127.0.0.1, and some for a name.
    "http://127.1:50051",
];

const HERE: [&str; 7] = [
    "http://127.0.0.1:50051",
    "http://127.255.0.7:50051",
    "http://[::1]:50051",
    "http://[::ffff:127.0.0.1]:50051",
    "http://localhost:50051",
    "http://LOCALHOST",
    "unix:/run/keypool.sock",
];

fn with_token(endpoint: &str) -> ClientBuilder {
    Client::builder(endpoint).token_provider(Token::new("secret").unwrap())
}

fn check_refused(built: Result<Client, Error>, endpoint: &str) {
    match built {
        Err(Error::Configuration(ConfigError::PlainTextTokens { endpoint: refused })) => {
            assert_eq!(refused, endpoint);
        }
        other => panic!("{endpoint}: {other:?}"),
    }
}

#[tokio::test]
async fn no_token_leaves_the_host_in_plain_text() {
    let every = Duration::from_secs(1);
    for endpoint in ELSEWHERE {
        check_refused(with_token(endpoint).connect_lazy(), endpoint);
        check_refused(with_token(endpoint).connect().await, endpoint);
        check_refused(with_token(endpoint).resolve_every(every).connect_lazy(), endpoint);
        for here in HERE {
            check_refused(with_token(here).endpoint(endpoint).connect_lazy(), endpoint);
            check_refused(with_token(here).endpoint(endpoint).connect().await, endpoint);
        }
    }
}

#[tokio::test]
async fn tokens_may_go_to_this_host_and_where_that_is_allowed() {
    for endpoint in HERE {
        with_token(endpoint).connect_lazy().unwrap();
        with_token(endpoint).resolve_every(Duration::from_secs(1)).connect_lazy().unwrap();
    }
    for endpoint in ELSEWHERE {
        with_token(endpoint).plain_text_tokens().connect_lazy().unwrap();
        Client::builder(endpoint).connect_lazy().unwrap();
    }
}

#[cfg(feature = "tls-webpki-roots")]
#[tokio::test]
async fn tokens_may_go_anywhere_by_https() {
    with_token("https://keypool.example").connect_lazy().unwrap();
}
