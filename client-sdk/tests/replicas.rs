//! Several replicas, some of which are down.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use keypool_client::proto::v1::*;
use keypool_client::{Client, ClientBuilder, Error, RetryPolicy};
use support::relay::Relay;
use support::*;
use tokio::net::TcpListener;
use tonic::Code;

fn builder(endpoints: &[&str]) -> ClientBuilder {
    let first = Client::builder(endpoints[0]).timeout(Duration::from_secs(20));
    endpoints[1..].iter().fold(first, |builder, endpoint| builder.endpoint(*endpoint))
}

async fn call(client: &Client, times: usize) {
    for _ in 0..times {
        client.pool_status("bob", "phone").await.unwrap();
    }
}

fn shutting_down() -> tonic::Status {
    let later = retry_info(Duration::from_secs(3600));
    failure(Code::Unavailable, ErrorReason::ShuttingDown, vec![later])
}

#[tokio::test]
async fn calls_go_to_each_in_turn() {
    let replicas = [Mortal::start().await, Mortal::start().await];
    replicas.iter().for_each(|replica| replica.fake.status.always(Ok(some_status())));
    let client = builder(&[&replicas[0].endpoint, &replicas[1].endpoint]).connect().await.unwrap();

    call(&client, 10).await;

    let counts = replicas.each_ref().map(|replica| replica.fake.status.requests().len());
    assert_eq!(counts, [5, 5]);
}

#[tokio::test]
async fn no_call_fails_for_replicas_that_never_were() {
    let (nobodies, alive) = ([nobody(), nobody()], Mortal::start().await);
    alive.fake.status.always(Ok(some_status()));
    let client = builder(&[&nobodies[0].1, &alive.endpoint, &nobodies[1].1]);
    let client = client.connect().await.unwrap();

    call(&client, 50).await;

    assert_eq!(alive.fake.status.requests().len(), 50);
}

#[tokio::test]
async fn no_call_fails_for_a_replica_that_is_killed() {
    let (mut mortal, other) = (Mortal::start().await, Mortal::start().await);
    mortal.fake.status.always(Ok(some_status()));
    other.fake.status.always(Ok(some_status()));
    let client = builder(&[&mortal.endpoint, &other.endpoint]).connect().await.unwrap();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { call(&client, 100).await })
        })
        .collect();

    eventually(|| !mortal.fake.status.requests().is_empty()).await;
    mortal.kill();

    for caller in callers {
        caller.await.unwrap();
    }
    let answered = other.fake.status.requests().len() + mortal.fake.status.requests().len();
    assert!(answered >= 800, "{answered}");
}

#[tokio::test]
async fn a_replica_that_stops_or_fails_passes_its_calls_on() {
    for refusal in [shutting_down(), unavailable()] {
        let (stopping, other) = (Mortal::start().await, Mortal::start().await);
        stopping.fake.status.always(Err(refusal));
        other.fake.status.always(Ok(some_status()));
        let client = builder(&[&stopping.endpoint, &other.endpoint]).connect().await.unwrap();

        call(&client, 10).await;

        // Once, and then it is left alone for a while.
        assert_eq!(stopping.fake.status.requests().len(), 1);
        assert_eq!(other.fake.status.requests().len(), 10);
    }
}

#[tokio::test]
async fn a_call_does_not_come_back_to_a_replica_that_is_overloaded() {
    let (busy, other) = (Mortal::start().await, Mortal::start().await);
    let later = retry_info(Duration::from_millis(300));
    busy.fake.status.always(Err(failure(Code::Unavailable, ErrorReason::Overloaded, vec![later])));
    other.fake.status.always(Ok(some_status()));
    let client = builder(&[&busy.endpoint, &other.endpoint]).connect().await.unwrap();
    let waiting = client.clone();
    let waiting = tokio::spawn(async move { call(&waiting, 1).await });
    eventually(|| busy.fake.status.requests().len() == 1).await;

    // Now it would be the busy one's turn again.
    call(&client, 1).await;
    waiting.await.unwrap();

    assert_eq!(busy.fake.status.requests().len(), 1);
    assert_eq!(other.fake.status.requests().len(), 2);
}

#[tokio::test]
async fn without_retries_there_is_no_failover() {
    let ((_nobody, nowhere), alive) = (nobody(), Mortal::start().await);
    let client = builder(&[&nowhere, &alive.endpoint]).retry(RetryPolicy::never());
    let client = client.connect().await.unwrap();
    let error = client.pool_status("bob", "phone").await.unwrap_err();
    assert!(matches!(error, Error::Transport(_)), "{error:?}");
}

#[tokio::test]
async fn a_replica_that_hangs_costs_a_call_only_its_share() {
    let (hanging, other) = (Mortal::start().await, Mortal::start().await);
    other.fake.status.always(Ok(some_status()));
    let client = builder(&[&hanging.endpoint, &other.endpoint]).timeout(Duration::from_secs(2));
    let client = client.connect().await.unwrap();

    call(&client, 4).await;

    assert_eq!(hanging.fake.status.requests().len(), 1);
    assert_eq!(other.fake.status.requests().len(), 4);
}

#[tokio::test]
async fn where_nothing_is_heard_the_next_call_connects_anew() {
    let replica = Mortal::start().await;
    replica.fake.status.always(Ok(some_status()));
    let relay = Relay::start(&replica.endpoint).await;
    let client = builder(&[&relay.endpoint]).timeout(Duration::from_millis(500));
    let client = client.connect().await.unwrap();
    call(&client, 1).await;

    relay.fall_silent();
    let error = client.pool_status("bob", "phone").await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded(_)), "{error:?}");

    call(&client, 3).await;
    assert_eq!(replica.fake.status.connections(), 2);
}

#[tokio::test]
async fn a_watch_goes_on_at_another_replica() {
    let (mut mortal, other) = (Mortal::start().await, Mortal::start().await);
    let status = |health: PoolHealth| {
        let health = health.into();
        let pool_status = Some(DevicePoolStatus { health, ..Default::default() });
        Ok(vec![Ok(WatchPoolResponse { pool_status })])
    };
    mortal.fake.watch.always(status(PoolHealth::Healthy));
    other.fake.watch.always(status(PoolHealth::Low));
    let client = builder(&[&mortal.endpoint, &other.endpoint]).connect().await.unwrap();
    let mut watch = client.watch_pool("bob", "phone");
    assert_eq!(watch.next().await.unwrap().health(), PoolHealth::Healthy);

    mortal.kill();

    assert_eq!(watch.next().await.unwrap().health(), PoolHealth::Low);
}

#[tokio::test]
async fn a_name_is_looked_up() {
    let alive = Mortal::start().await;
    alive.fake.status.always(Ok(some_status()));
    let named = alive.endpoint.replace("127.0.0.1", "localhost");
    let client = builder(&[&named]).resolve_every(Duration::from_secs(3600));
    let client = client.connect().await.unwrap();

    // The first calls may go to the name itself, the others go to its addresses.
    call(&client, 1).await;
    while alive.fake.status.connections() < 2 {
        call(&client, 1).await;
    }
}

#[tokio::test]
async fn with_the_last_clone_the_looking_up_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let metrics = tokio::runtime::Handle::current().metrics();
    let client = builder(&[&endpoint]).resolve_every(Duration::from_millis(100));
    let client = client.connect().await.unwrap();
    let clone = client.on_behalf_of("alice");

    drop(client);
    assert!(metrics.num_alive_tasks() > 0);
    drop(clone);

    eventually(|| metrics.num_alive_tasks() == 0).await;
}
