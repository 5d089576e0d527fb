//! A service starts on the schema that it knows, and on no other.

use super::support::{calls::eventually, http, locks::connect};
use keypool_service::{
    clock::SystemClock,
    config::{Config, DatabaseUrl},
    server::{Server, ServerError},
    store::{MigrateError, SchemaState},
    testing::{database::TestDatabase, server::TestServer},
};
use std::{net::Ipv4Addr, sync::Arc};
use tokio::task::JoinSet;

fn config(database: &TestDatabase) -> Config {
    Config {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        admin_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        database_url: Some(DatabaseUrl::new(database.url())),
        ..Config::default()
    }
}

async fn start(config: &Config) -> Result<Server, ServerError> {
    Server::start(config, Arc::new(SystemClock)).await
}

/// Adds a migration of the future.
async fn add_newer_schema(database: &TestDatabase) {
    let client = connect(&database.config()).await;
    let insert = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
                  VALUES (1000, 'of_the_future', '2100-01-01T00:00:00Z', '0')";
    client.batch_execute(insert).await.unwrap();
}

/// Notes that a migration of the future has taken something away.
async fn stop_serving_older_versions(database: &TestDatabase) {
    let client = connect(&database.config()).await;
    client.batch_execute("UPDATE served_schema SET least = 1000").await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_that_takes_something_away_is_refused() {
    let server = TestServer::start().await;
    add_newer_schema(server.database()).await;
    stop_serving_older_versions(server.database()).await;
    let error = start(&config(server.database())).await.unwrap_err();
    assert!(
        matches!(
            error,
            ServerError::Migrate(MigrateError::Schema(SchemaState::Ahead { found: 1000, .. }))
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("use a newer keypool"), "{error}");
}

#[tokio::test]
async fn a_service_that_runs_already_goes_on_while_a_newer_one_migrates() {
    let server = TestServer::start().await;
    let database = connect(&server.database().config()).await;
    // An older schema must be noticed first, so that the look at the newer one is known to have happened.
    let ready = async |status: u16| {
        eventually(&format!("/readyz says {status}"), async || {
            http::get(server.server().admin_address(), "/readyz").await.status == status
        })
        .await;
    };
    let hide = "ALTER TABLE refinery_schema_history RENAME TO hidden";
    database.batch_execute(hide).await.unwrap();
    ready(503).await;
    database.batch_execute("ALTER TABLE hidden RENAME TO refinery_schema_history").await.unwrap();
    add_newer_schema(server.database()).await;
    ready(200).await;
    stop_serving_older_versions(server.database()).await;
    ready(503).await;
}

#[tokio::test]
async fn a_service_starts_on_a_newer_schema_that_only_adds_as_in_the_middle_of_an_upgrade() {
    let server = TestServer::start().await;
    add_newer_schema(server.database()).await;
    let older = start(&config(server.database())).await.unwrap();
    assert_eq!(http::get(older.admin_address(), "/readyz").await.status, 200);
    older.stop().await.unwrap();
}

#[tokio::test]
async fn an_older_schema_is_refused_if_the_service_may_not_migrate() {
    let database = TestDatabase::create().await;
    let careful = Config { migrate_on_start: false, ..config(&database) };
    let error = start(&careful).await.unwrap_err();
    assert!(
        matches!(error, ServerError::Schema(SchemaState::Behind { found: 0, .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("run `keypool migrate`"), "{error}");

    start(&config(&database)).await.unwrap().stop().await.unwrap();
    start(&careful).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn services_that_start_at_once_on_an_empty_database_all_come_up() {
    let database = TestDatabase::create().await;
    let mut starts = JoinSet::new();
    for _ in 0..4 {
        let config = config(&database);
        starts.spawn(async move { start(&config).await });
    }
    for server in starts.join_all().await {
        let server = server.unwrap();
        assert_eq!(http::get(server.admin_address(), "/readyz").await.status, 200);
        server.stop().await.unwrap();
    }
}
