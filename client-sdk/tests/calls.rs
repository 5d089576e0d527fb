//! Retries, deadlines and errors, against a service with scripted answers.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use keypool_client::proto::v1::*;
use keypool_client::{Client, ConfigError, Error, RetryPolicy};
use support::*;
use tonic::{Code, Status};

fn bobs() -> ReservedKeyPackage {
    package(name("bob", "phone", b"ref"), b"bytes".to_vec())
}

/// The `grpc-timeout` of each status request.
fn timeouts(fake: &Fake) -> Vec<Duration> {
    let parse = |text: String| {
        let (number, unit) = text.split_at(text.len() - 1);
        let number = number.parse().unwrap();
        match unit {
            "n" => Duration::from_nanos(number),
            "u" => Duration::from_micros(number),
            "m" => Duration::from_millis(number),
            unit => panic!("{unit}"),
        }
    };
    fake.status.header("grpc-timeout").into_iter().map(parse).collect()
}

#[tokio::test]
async fn all_tries_of_a_reserve_are_the_same_request() {
    let (fake, client) = Fake::start().await;
    let client = client.on_behalf_of("alice").connect().await.unwrap();
    fake.reserve
        .answer(Err(unavailable()))
        .answer(Err(Status::unavailable("a proxy")))
        .answer(Ok(reserved(vec![bobs()])));

    let reserve = client.reserve(b"group").user("bob").cipher_suite(1);
    let reservation = reserve.ttl(Duration::from_secs(30)).require_all().send().await.unwrap();

    let requests = fake.reserve.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| *request == requests[0]), "{requests:?}");
    assert_eq!(requests[0].reservation_id, reservation.id());
    assert_eq!(requests[0].on_behalf_of, "alice");
    assert!(requests[0].require_all);
    assert_eq!(reservation.packages()[0].bytes, b"bytes");
    assert_eq!(reservation.group_id(), b"group");
    reservation.keep();
}

#[tokio::test]
async fn a_definite_answer_is_not_asked_again() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.status.answer(Err(failure(Code::NotFound, ErrorReason::UnknownUser, vec![])));

    let error = client.pool_status("bob", "phone").await.unwrap_err();

    assert!(matches!(error, Error::UnknownUser(_)), "{error:?}");
    assert_eq!(fake.status.requests().len(), 1);
}

#[tokio::test]
async fn no_call_outlasts_its_deadline() {
    let (fake, client) = Fake::start().await;
    let client = client.timeout(Duration::from_millis(300)).connect().await.unwrap();
    let start = Instant::now();

    let error = client.pool_status("bob", "phone").await.unwrap_err();

    assert!(matches!(error, Error::DeadlineExceeded(_)), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(timeouts(&fake)[0] <= Duration::from_millis(300));
}

#[tokio::test]
async fn retries_stop_at_the_deadline_with_the_last_error() {
    let (fake, client) = Fake::start().await;
    let policy = RetryPolicy::default().max_retries(100);
    let client = client.timeout(Duration::from_millis(300)).retry(policy).connect().await.unwrap();
    for _ in 0..100 {
        fake.status.answer(Err(unavailable()));
    }

    let error = client.pool_status("bob", "phone").await.unwrap_err();

    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!((2..20).contains(&fake.status.requests().len()));
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_only_if_that_fits() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let limited = |wait| {
        let details = vec![retry_info(wait)];
        Err(failure(Code::ResourceExhausted, ErrorReason::RateLimited, details))
    };
    fake.reserve
        .answer(limited(Duration::from_millis(200)))
        .answer(Ok(reserved(vec![bobs()])))
        .answer(limited(Duration::from_secs(3600)));

    let start = Instant::now();
    client.reserve(b"group").user("bob").send().await.unwrap().keep();
    assert!(start.elapsed() >= Duration::from_millis(200));

    let start = Instant::now();
    let error = client.reserve(b"group").user("bob").send().await.unwrap_err();
    assert!(matches!(error, Error::RateLimited(_)), "{error:?}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn an_answer_that_breaks_the_contract_is_an_error() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.release.always(Ok(ReleaseReservationResponse::default()));
    let wrong_suite = ReservedKeyPackage { cipher_suite: 1 << 20, ..bobs() };
    for answer in [
        ReserveKeyPackagesResponse::default(),
        reserved(vec![ReservedKeyPackage { name: None, ..bobs() }]),
        reserved(vec![ReservedKeyPackage { not_after_time: None, ..bobs() }]),
        reserved(vec![wrong_suite]),
    ] {
        fake.reserve.answer(Ok(answer.clone()));
        let result = client.reserve(b"group").user("bob").send().await;
        assert!(matches!(result, Err(Error::Protocol(_))), "{answer:?}");
    }

    fake.status.answer(Ok(GetPoolStatusResponse::default()));
    let result = client.pool_status("bob", "phone").await;
    assert!(matches!(result, Err(Error::Protocol(_))), "{result:?}");

    fake.upload.answer(Ok(UploadKeyPackagesResponse::default()));
    let result = client.upload("bob", "phone", vec![]).await;
    assert!(matches!(result, Err(Error::Protocol(_))), "{result:?}");
}

#[tokio::test]
async fn nobody_there_is_a_transport_error() {
    let (_nobody, endpoint) = nobody();

    let result = Client::builder(&endpoint).connect().await;
    assert!(matches!(result, Err(Error::Transport(_))), "{result:?}");

    let lazy = Client::builder(&endpoint).retry(RetryPolicy::never()).connect_lazy().unwrap();
    let error = lazy.pool_status("bob", "phone").await.unwrap_err();
    assert!(matches!(error, Error::Transport(_)), "{error:?}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_watch_goes_on_after_the_service_stopped() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let status = |health: PoolHealth| {
        let health = health.into();
        let pool_status = Some(DevicePoolStatus { health, ..Default::default() });
        Ok(WatchPoolResponse { pool_status })
    };
    let denied = failure(Code::PermissionDenied, ErrorReason::PermissionDenied, vec![]);
    fake.watch
        .answer(Ok(vec![status(PoolHealth::Healthy), Err(Status::unavailable("stopping"))]))
        .answer(Err(unavailable()))
        .answer(Ok(vec![status(PoolHealth::Low), Err(denied)]));

    let mut watch = client.watch_pool("bob", "phone");

    assert_eq!(watch.next().await.unwrap().health(), PoolHealth::Healthy);
    assert_eq!(watch.next().await.unwrap().health(), PoolHealth::Low);
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, Error::PermissionDenied(_)), "{error:?}");
    assert_eq!(fake.watch.requests().len(), 3);
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_repeated() {
    let (fake, client) = Fake::start().await;
    let policy = RetryPolicy::default().attempt_timeout(Duration::from_millis(100));
    let client = client.retry(policy).connect().await.unwrap();
    let asked = tokio::spawn(async move { client.pool_status("bob", "phone").await });

    eventually(|| fake.status.requests().len() == 1).await;
    fake.status.always(Ok(some_status()));

    asked.await.unwrap().unwrap();
    assert_eq!(fake.status.requests().len(), 2);
    assert!(timeouts(&fake).iter().all(|timeout| *timeout <= Duration::from_millis(100)));
}

#[tokio::test]
async fn deadlines_shrink_from_try_to_try() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    fake.status.answer(Err(unavailable())).answer(Err(unavailable())).answer(Ok(some_status()));

    client.pool_status("bob", "phone").await.unwrap();

    let timeouts = timeouts(&fake);
    assert!(timeouts.is_sorted_by(|former, latter| former > latter), "{timeouts:?}");
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_running() {
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();
    let call = tokio::spawn(async move { client.pool_status("bob", "phone").await });
    eventually(|| fake.status.open() == 1).await;

    call.abort();

    eventually(|| fake.status.open() == 0).await;
    assert_eq!(fake.status.requests().len(), 1);
}

#[tokio::test]
async fn an_overloaded_service_is_spared_until_it_is_well_again() {
    let (fake, client) = Fake::start().await;
    let client = client.retry(RetryPolicy::never()).connect().await.unwrap();
    fake.status.always(Err(failure(Code::Unavailable, ErrorReason::Overloaded, vec![])));

    for _ in 0..1000 {
        let error = client.pool_status("bob", "phone").await.unwrap_err();
        assert!(matches!(error, Error::Overloaded(_)), "{error:?}");
        assert_eq!(error.reason(), Some(ErrorReason::Overloaded));
    }
    let sent = fake.status.requests().len();
    assert!(sent < 500, "{sent} of 1,000 calls were sent");

    // Other methods have queues of their own.
    fake.reserve.always(Ok(reserved(vec![bobs()])));
    for _ in 0..10 {
        client.reserve(b"group").user("bob").send().await.unwrap().keep();
    }

    fake.status.always(Ok(some_status()));
    let mut in_a_row = 0;
    eventually_async(async || {
        let answer = client.pool_status("bob", "phone").await;
        in_a_row = if answer.is_ok() { in_a_row + 1 } else { 0 };
        in_a_row == 20
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_kept_back_is_tried_again() {
    let (fake, client) = Fake::start().await;
    let client = client.timeout(Duration::from_secs(60)).connect().await.unwrap();
    fake.status.always(Err(failure(Code::Unavailable, ErrorReason::Overloaded, vec![])));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let client = client.clone();
        calls.spawn(async move { client.pool_status("bob", "phone").await });
    }
    // So many refusals that most of what follows is kept back.
    eventually(|| fake.status.requests().len() >= 500).await;
    fake.status.always(Ok(some_status()));
    for answer in calls.join_all().await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_endpoint_is_refused_at_once() {
    let result = Client::builder("localhost:50051").connect().await;
    let Err(Error::Configuration(ConfigError::Endpoint { endpoint })) = result else {
        panic!("{result:?}");
    };
    assert_eq!(endpoint, "localhost:50051");
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn https_takes_a_feature() {
    let result = Client::builder("https://localhost").connect().await;
    let no_tls = matches!(result, Err(Error::Configuration(ConfigError::TlsNotCompiled { .. })));
    assert!(no_tls, "{result:?}");
}

#[cfg(not(feature = "opentelemetry"))]
#[tokio::test]
async fn no_trace_context_is_sent_unless_asked_for() {
    let (fake, client) = Fake::start().await;
    fake.status.always(Ok(some_status()));
    client.connect().await.unwrap().pool_status("bob", "phone").await.unwrap();
    assert_eq!(fake.status.header("traceparent"), [""]);
}
