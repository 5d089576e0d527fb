//! The commands for operators, on a database.

use super::{
    fails, keypool, succeeds,
    support::{
        calls::{named, reserve_one, revoke_all},
        client, fill, fill_last_resort,
        locks::connect,
        spend, upload,
    },
};
use keypool_service::{
    testing::{database::TestDatabase, packages::PackageMaker, server::TestServer},
    types::CipherSuite,
};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use tokio::io::{AsyncBufReadExt, BufReader};

fn on(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = keypool(arguments);
    command.args(["--database-url", &database.url()]);
    command
}

async fn json(database: &TestDatabase, command: &str) -> Value {
    serde_json::from_str(&succeeds(on(database, &[command, "--json"])).await).unwrap()
}

#[tokio::test]
async fn migrate_brings_the_schema_up_to_date_once() {
    let database = TestDatabase::create().await;
    let migrate = || on(&database, &["migrate"]);
    assert_eq!(succeeds(migrate()).await, "the schema was migrated\n");
    assert_eq!(succeeds(migrate()).await, "the schema is up to date\n");
    assert_eq!(json(&database, "migrate").await, json!({ "migrated": false }));
    let other = TestDatabase::create().await;
    assert_eq!(json(&other, "migrate").await, json!({ "migrated": true }));
}

#[tokio::test]
async fn status_counts_what_there_is() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 5).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    fill(&mut client, "bob", "laptop", 2).await;
    fill(&mut client, "carol", "phone", 1).await;
    let held = reserve_one(&mut client, "spent", "bob", "phone").await.unwrap();
    spend(&mut client, "spent", named(&held)).await.unwrap();
    reserve_one(&mut client, "held", "bob", "phone").await.unwrap();
    revoke_all(&mut client, "bob", "laptop").await;

    let expected = json!({
        "users": 2, "devices": 3, "available": 4, "reserved": 1, "expired": 0, "quarantined": 0, "returned": 0,
        "revoked": 2,
        "spent": 1, "last_resort": 1,
        "pools": { "empty": 1, "low": 2, "healthy": 0, "without_last_resort": 2 },
    });
    let mut status = json(server.database(), "status").await;
    let lowest = status.as_object_mut().unwrap().remove("lowest").unwrap();
    assert_eq!(status, expected);
    let named = |pool: &Value| format!("{} {}", pool["user_id"], pool["device_id"]);
    let lowest: Vec<_> = lowest.as_array().unwrap().iter().map(named).collect();
    assert_eq!(lowest, [r#""bob" "laptop""#, r#""carol" "phone""#, r#""bob" "phone""#]);

    let text = succeeds(on(server.database(), &["status", "--lowest", "1"])).await;
    assert!(text.contains("1 empty, 2 low, 0 healthy"), "{text}");
    assert!(text.contains("4 available, 1 reserved"), "{text}");
    assert!(text.contains("laptop") && !text.contains("carol"), "{text}");
}

#[tokio::test]
async fn status_is_shown_again_and_again() {
    let server = TestServer::start().await;
    let mut watching = on(server.database(), &["status", "--watch", "--json"]);
    watching.stdout(Stdio::piped());
    let mut watching = tokio::process::Command::from(watching).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut available = async || {
        let line = lines.next_line().await.unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["available"].as_u64().unwrap()
    };
    assert_eq!(available().await, 0);
    fill(&mut client(&server).await, "bob", "phone", 2).await;
    while available().await == 0 {}
}

#[tokio::test]
async fn sweep_purges_all_that_is_old() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 60).await;
    let of_suite_3 = PackageMaker::new("bob", "phone").cipher_suite(CipherSuite(3));
    upload(&mut client, "bob", "phone", of_suite_3.make_many(60)).await;
    let held = reserve_one(&mut client, "spent", "bob", "phone").await.unwrap();
    spend(&mut client, "spent", named(&held)).await.unwrap();
    let database = connect(&server.database().config()).await;
    let age = "UPDATE key_package SET not_after = not_after - interval '100 days'; \
               UPDATE spend_log SET logged_at = logged_at - interval '100 days', spent_at = spent_at - interval '100 days'";
    database.batch_execute(age).await.unwrap();

    // More than one batch.
    let expected = json!({ "key_packages": 120, "spend_log_entries": 1, "emptied": 0 });
    assert_eq!(json(server.database(), "sweep").await, expected);
    let text = succeeds(on(server.database(), &["sweep"])).await;
    let key_packages = text.lines().find(|line| line.starts_with("key packages")).unwrap();
    assert!(key_packages.ends_with(" 0"), "{text}");
}

#[tokio::test]
async fn an_old_schema_is_told_with_what_to_do() {
    let database = TestDatabase::create().await;
    for command in ["status", "sweep"] {
        let error = fails(on(&database, &[command]), 1).await;
        assert!(error.contains("has version 0") && error.contains("`keypool migrate`"), "{error}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_told_with_what_to_do() {
    let server = TestServer::start().await;
    let database = connect(&server.database().config()).await;
    let newer = "UPDATE refinery_schema_history SET version = 1000 \
                 WHERE version = (SELECT max(version) FROM refinery_schema_history); \
                 UPDATE served_schema SET least = 1000";
    database.batch_execute(newer).await.unwrap();
    for command in ["serve", "migrate", "status", "sweep"] {
        let mut command = on(server.database(), &[command]);
        command.env("KEYPOOL_LISTEN", "127.0.0.1:0").env("KEYPOOL_ADMIN_LISTEN", "127.0.0.1:0");
        command.env("KEYPOOL_LOG", "off");
        let error = fails(command, 1).await;
        assert!(error.contains("1000") && error.contains("use a newer keypool"), "{error}");
    }
}
