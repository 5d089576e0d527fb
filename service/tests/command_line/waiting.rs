//! `keypool serve` waits for a database that is away.

use super::{
    fails, keypool,
    serving::{ANYWHERE, Serving, on},
    support::{
        Client, calls::eventually, fill, http, locks::connect, network::Link, network::Network,
        reason, upload_request,
    },
};
use keypool_proto::v1::{ErrorReason, GetPoolStatusRequest};
use keypool_service::testing::{
    database::{TestCluster, TestDatabase},
    packages::PackageMaker,
};
use rustix::process::Signal;
use std::{process::Command, time::Duration};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt;

/// The service, on a database that it reaches by another URL than the database's own.
fn by(url: &str) -> Command {
    let mut command = keypool(&ANYWHERE);
    command.env("KEYPOOL_DATABASE_URL", url);
    command
}

async fn health(serving: &Serving) -> ServingStatus {
    let endpoint = Endpoint::from_shared(format!("http://{}", serving.address)).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let answer = health.check(HealthCheckRequest { service: String::new() }).await;
    answer.unwrap().into_inner().status()
}

/// Checks that calls of each kind say that the database is away, and when to come back.
async fn calls_are_unavailable(client: &mut Client) {
    let package = PackageMaker::new("bob", "phone").make();
    let upload = client.upload_key_packages(upload_request("bob", "phone", vec![package])).await;
    let status = GetPoolStatusRequest { user_id: "bob".into(), device_id: String::new() };
    let status = client.get_pool_status(status).await;
    for error in [upload.unwrap_err(), status.unwrap_err()] {
        assert_eq!(reason(&error), ErrorReason::DatabaseUnavailable, "{error:?}");
        assert!(error.get_error_details().retry_info().is_some(), "{error:?}");
    }
}

/// Checks that it is alive, not ready for this reason, and ready once something has been done.
async fn waits(command: Command, reason: &str, then: impl AsyncFnOnce()) {
    let mut serving = Serving::start(command).await;
    assert!(serving.greeting.contains(reason), "{reason}: {}", serving.greeting);
    assert_eq!(http::get(serving.admin, "/livez").await.status, 200);
    serving.says(503, reason).await;
    let metrics = http::get(serving.admin, "/metrics").await;
    assert!(metrics.text().lines().any(|line| line == "keypool_ready 0"), "{}", metrics.text());
    assert_eq!(health(&serving).await, ServingStatus::NotServing);
    calls_are_unavailable(&mut serving.client().await).await;
    then().await;
    assert_eq!(serving.next_line().await, "keypool ready");
    serving.says(200, "ok").await;
    eventually("health follows", async || health(&serving).await == ServingStatus::Serving).await;
    fill(&mut serving.client().await, "bob", "phone", 1).await;
    assert_eq!(serving.stop(Signal::TERM).await.0.code(), Some(0));
}

#[tokio::test]
async fn a_database_that_can_not_be_reached_is_waited_for() {
    for link in [Link::Refusing, Link::Silent] {
        let database = TestDatabase::create().await;
        let network = Network::before(&database);
        network.set(link);
        let command = by(&network.url(&database.url()));
        waits(command, "the database does not answer", async || network.set(Link::Up)).await;
    }
}

#[tokio::test]
async fn a_database_that_refuses_the_role_is_waited_for() {
    let database = TestDatabase::create().await;
    let admin = connect(&database.config()).await;
    let role = database.create_owner("old").await;
    let refused = "the database refuses the role or its password";
    waits(by(&database.url_as(&role, "new")), refused, async || {
        admin.batch_execute(&format!("ALTER ROLE {role} PASSWORD 'new'")).await.unwrap();
    })
    .await;

    admin.batch_execute(&format!("ALTER ROLE {role} CONNECTION LIMIT 0")).await.unwrap();
    let full = "the database has no connection left";
    waits(by(&database.url_as(&role, "new")), full, async || {
        admin.batch_execute(&format!("ALTER ROLE {role} CONNECTION LIMIT -1")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_not_there_yet_is_waited_for() {
    let other = TestDatabase::create().await;
    let admin = connect(&other.config()).await;
    let name = other.config().get_dbname().unwrap().to_owned();
    let url = other.url();
    let (server, _) = url.rsplit_once('/').unwrap();
    let url = format!("{server}/late_{name}");
    waits(by(&url), "the database does not exist", async || {
        admin.batch_execute(&format!("CREATE DATABASE late_{name}")).await.unwrap();
    })
    .await;
    admin.batch_execute(&format!("DROP DATABASE late_{name} WITH (FORCE)")).await.unwrap();
}

#[tokio::test]
async fn a_read_only_database_is_waited_for() {
    let database = TestDatabase::create().await;
    let admin = connect(&database.config()).await;
    let name = database.config().get_dbname().unwrap().to_owned();
    let set =
        |value: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
    admin.batch_execute(&set("on")).await.unwrap();
    let straight = database.url();
    let choosy = format!("{straight}?target_session_attrs=read-write");
    for url in [straight, choosy] {
        admin.batch_execute(&set("on")).await.unwrap();
        waits(by(&url), "the database is read-only", async || {
            admin.batch_execute(&set("off")).await.unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn a_standby_is_waited_for_until_it_is_promoted() {
    let primary = TestCluster::durable().await;
    let database = TestDatabase::create_in(&primary).await;
    let standby = primary.standby().await;
    waits(by(&database.url_on(&standby)), "the database is a standby", async || {
        standby.promote().await;
    })
    .await;
}

#[tokio::test]
async fn each_reason_is_logged_once() {
    let database = TestDatabase::create().await;
    let network = Network::before(&database);
    network.set(Link::Refusing);
    let admin = connect(&database.config()).await;
    let name = database.config().get_dbname().unwrap().to_owned();
    let set = format!("ALTER DATABASE {name} SET default_transaction_read_only");
    admin.batch_execute(&format!("{set} = on")).await.unwrap();
    let mut serving = Serving::start(by(&network.url(&database.url()))).await;
    // Several tries each.
    let made = network.made();
    eventually("it is tried again", async || network.made() > made + 3).await;
    network.set(Link::Up);
    serving.says(503, "read-only").await;
    let made = network.made();
    eventually("it is tried again", async || network.made() > made + 3).await;
    admin.batch_execute(&format!("{set} = off")).await.unwrap();
    assert_eq!(serving.next_line().await, "keypool ready");
    let (_, log) = serving.stop(Signal::TERM).await;
    let reasons: Vec<&str> = log.lines().filter(|line| line.contains("not ready")).collect();
    assert_eq!(reasons.len(), 2, "{log}");
    assert!(reasons[0].contains("does not answer") && reasons[1].contains("read-only"), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("\"sweep"), "{log}");
}

#[tokio::test]
async fn a_service_that_waits_stops_when_it_is_told_to() {
    let database = TestDatabase::create().await;
    let network = Network::before(&database);
    for (link, signal) in [(Link::Refusing, Signal::TERM), (Link::Silent, Signal::INT)] {
        network.set(link);
        let serving = Serving::start(by(&network.url(&database.url()))).await;
        let stopped = tokio::time::timeout(Duration::from_secs(10), serving.stop(signal)).await;
        assert_eq!(stopped.expect("it stops").0.code(), Some(0));
    }
}

#[tokio::test]
async fn services_that_wait_for_the_same_database_take_turns_to_migrate_it() {
    let database = TestDatabase::create().await;
    let network = Network::before(&database);
    network.set(Link::Refusing);
    let url = network.url(&database.url());
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(Serving::start(by(&url)).await);
    }
    network.set(Link::Up);
    for serving in &mut waiting {
        assert_eq!(serving.next_line().await, "keypool ready");
    }
}

#[tokio::test]
async fn commands_do_not_wait() {
    let database = TestDatabase::create().await;
    let network = Network::before(&database);
    let url = network.url(&database.url());
    for link in [Link::Refusing, Link::Silent] {
        network.set(link);
        for command in ["migrate", "status", "sweep", "fence"] {
            let error = fails(keypool(&[command, "--database-url", &url]), 1).await;
            assert!(error.contains("keypool: "), "{command}: {error}");
        }
    }
    network.set(Link::Up);
    let serving = Serving::start(on(&database, &ANYWHERE)).await;
    assert!(!serving.greeting.contains("not ready"), "{}", serving.greeting);
}
