//! The role that the service runs as has the rights that it needs, and can't change what was handed out.

use super::support::{
    calls::{extend, named, release, release_request, reserve_one, revoke_all, spend_log},
    client, fill, fill_last_resort,
    locks::connect,
    pool, spend,
};
use keypool_proto::v1::{SpendLogFilter, UnusableReason};
use keypool_service::{
    config::{Config, DatabaseUrl},
    server::Database,
    store::Purged,
    testing::{database::TestDatabase, server::TestServer},
};
use tokio_postgres::{Client, error::SqlState};

/// As the database sees it, whose clock can't be set.
const LONG_AGO: &str = "clock_timestamp() - interval '100 days'";

/// Roles are shared by all databases of a cluster.
fn role(database: &TestDatabase) -> String {
    format!("runtime {}", database.config().get_dbname().unwrap())
}

/// A database whose tables belong to one role, and a URL of another that may only do what the service needs.
async fn separate_roles() -> (TestDatabase, String) {
    let database = TestDatabase::create().await;
    let role = role(&database);
    let owner = connect(&database.config()).await;
    let create = format!("CREATE ROLE {role:?} LOGIN PASSWORD 'secret'");
    owner.batch_execute(&create).await.unwrap();
    let config = Config {
        database_url: Some(DatabaseUrl::new(database.url())),
        runtime_role: Some(role.clone()),
        ..Config::default()
    };
    let migrated = Database::open(&config).await.unwrap();
    migrated.migrate().await.unwrap();
    migrated.migrate().await.unwrap();
    let url = database.url_as(&role, "secret");
    (database, url)
}

async fn as_runtime(url: &str) -> Client {
    connect(&url.parse().unwrap()).await
}

async fn refused(client: &Client, statement: &str) {
    let error = client.batch_execute(statement).await.expect_err(statement);
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {error}");
}

#[tokio::test]
async fn the_runtime_role_has_every_right_that_the_service_needs() {
    let (database, url) = separate_roles().await;
    let server = TestServer::start_with_database(database, |config| {
        config.database_url = Some(DatabaseUrl::new(url));
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 4).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    fill_last_resort(&mut client, "bob", "phone").await;

    let spent = reserve_one(&mut client, "spent", "bob", "phone").await.unwrap();
    extend(&mut client, "spent", named(&spent)).await.unwrap();
    spend(&mut client, "spent", named(&spent)).await.unwrap();
    let released = reserve_one(&mut client, "released", "bob", "phone").await.unwrap();
    release(&mut client, "released", named(&released)).await.unwrap();
    let unusable = reserve_one(&mut client, "unusable", "bob", "phone").await.unwrap();
    let reason = UnusableReason::Other;
    client
        .release_reservation(release_request("unusable", named(&unusable), reason))
        .await
        .unwrap();
    let held = reserve_one(&mut client, "held", "bob", "phone").await.unwrap();
    reserve_one(&mut client, "held", "bob", "phone").await.unwrap();
    reserve_one(&mut client, "held too", "bob", "phone").await.unwrap();
    for reservation in ["last", "last spent"] {
        let last = reserve_one(&mut client, reservation, "bob", "phone").await.unwrap();
        assert!(last.last_resort);
        extend(&mut client, reservation, named(&last)).await.unwrap();
        if reservation == "last" {
            release(&mut client, reservation, named(&last)).await.unwrap();
        } else {
            spend(&mut client, reservation, named(&last)).await.unwrap();
        }
    }
    revoke_all(&mut client, "bob", "phone").await;
    spend(&mut client, "held", named(&held)).await.unwrap();
    assert_eq!(pool(&mut client, "bob", "phone").await.spent, 2);
    assert_eq!(spend_log(&server.endpoint(), SpendLogFilter::default()).await.len(), 6);
    assert_eq!(sweep(&server).await, (0, 0));
    let owner = connect(&server.database().config()).await;
    let long_ago = format!(
        "UPDATE spend_log SET logged_at = {LONG_AGO}, \
         spent_at = CASE WHEN spent_at IS NOT NULL THEN {LONG_AGO} END"
    );
    owner.batch_execute(&long_ago).await.unwrap();
    owner.batch_execute(&format!("UPDATE key_package SET not_after = {LONG_AGO}")).await.unwrap();
    assert_eq!(sweep(&server).await, (6, 6));
}

async fn sweep(server: &TestServer) -> (u64, u64) {
    let Purged { key_packages, spend_log_entries, .. } =
        server.server().pool().sweep().await.unwrap();
    (key_packages, spend_log_entries)
}

#[tokio::test]
async fn the_runtime_role_may_note_how_holds_end() {
    let (database, url) = separate_roles().await;
    let server = TestServer::start_with_database(database, |config| {
        config.database_url = Some(DatabaseUrl::new(url));
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let lapsed = reserve_one(&mut client, "lapses", "bob", "phone").await.unwrap();
    let later = jiff::SignedDuration::from_mins(11);
    server.clock().advance(later);
    sweep(&server).await;
    reserve_one(&mut client, "takes it over", "bob", "phone").await.unwrap();
    server.clock().advance(later);
    let taken = reserve_one(&mut client, "takes it over in turn", "bob", "phone").await.unwrap();
    assert_eq!(taken.key_package, lapsed.key_package);
    release(&mut client, "takes it over in turn", named(&taken)).await.unwrap();
    let again = reserve_one(&mut client, "takes it over in turn", "bob", "phone").await.unwrap();
    server.clock().advance(later);
    sweep(&server).await;
    spend(&mut client, "takes it over in turn", named(&again)).await.unwrap();
    assert_eq!(spend_log(&server.endpoint(), SpendLogFilter::default()).await.len(), 3);
}

#[tokio::test]
async fn the_runtime_role_can_not_change_what_was_handed_out() {
    let (database, url) = separate_roles().await;
    let server = TestServer::start_with_database(database, |config| {
        config.database_url = Some(DatabaseUrl::new(url.clone()));
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let package = reserve_one(&mut client, "one-time", "bob", "phone").await.unwrap();
    spend(&mut client, "one-time", named(&package)).await.unwrap();
    fill_last_resort(&mut client, "bob", "phone").await;
    reserve_one(&mut client, "last resort", "bob", "phone").await.unwrap();
    let before = spend_log(&server.endpoint(), SpendLogFilter::default()).await;
    assert_eq!(before.len(), 2);

    let runtime = as_runtime(&url).await;
    for column in ["holder", "group_id", "logged_at", "reservation_id", "user_id"] {
        refused(&runtime, &format!("UPDATE spend_log SET {column} = {column}")).await;
    }
    for change in [
        "key_package = 'x'",
        "credential = ''",
        "key_package = '', credential = 'x', signature_key = ''",
        "key_package_ref = 'x'",
        "init_key = 'x'",
        "not_after = now()",
        "user_id = 'eve'",
    ] {
        refused(&runtime, &format!("UPDATE key_package SET {change}")).await;
    }
    refused(&runtime, "TRUNCATE spend_log").await;
    refused(&runtime, "ALTER TABLE spend_log DISABLE ROW LEVEL SECURITY").await;
    refused(&runtime, "UPDATE origin SET one = one").await;
    refused(&runtime, "CREATE TABLE mine ()").await;
    // These are rights of the role, but not on these rows.
    for statement in [
        "UPDATE spend_log SET spent_at = NULL WHERE NOT last_resort",
        "UPDATE spend_log SET principal = 'eve' WHERE spent_at IS NOT NULL",
        "DELETE FROM spend_log",
        "DELETE FROM key_package",
    ] {
        assert_eq!(runtime.execute(statement, &[]).await.unwrap(), 0, "{statement}");
    }
    let after = spend_log(&server.endpoint(), SpendLogFilter::default()).await;
    assert_eq!(after, before);
}
