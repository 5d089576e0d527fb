//! A database on which keypool can't keep its promises is refused by all commands in the same words.

use super::{
    fails, keypool, run,
    serving::{ANYWHERE, Serving},
    stdout,
    support::locks::connect,
};
use keypool_service::testing::database::{TestCluster, TestDatabase};
use rustix::process::Signal;
use std::process::Command;

fn on(url: &str, command: &str) -> Command {
    let mut command = keypool(&[&[command], &ANYWHERE[..]].concat()[..]);
    command.env("KEYPOOL_DATABASE_URL", url).env("KEYPOOL_LOG", "off");
    command
}

/// Checks that serve, migrate and doctor refuse a database, in the same words.
async fn refused(url: &str, says: &str) {
    let error = fails(on(url, "serve"), 1).await;
    assert!(error.contains(says), "serve: {error}");
    migrate_and_doctor_refuse(url, says).await;
}

async fn migrate_and_doctor_refuse(url: &str, says: &str) {
    let migrate = keypool(&["migrate", "--database-url", url]);
    let error = fails(migrate, 1).await;
    assert!(error.contains(says), "migrate: {error}");
    let doctor = run(keypool(&["doctor", "--database-url", url])).await;
    assert_eq!(doctor.status.code(), Some(1));
    let findings = stdout(&doctor);
    let failed = findings.lines().any(|line| line.starts_with("failed") && line.contains(says));
    assert!(failed, "doctor: {findings}");
}

#[tokio::test]
async fn a_cluster_that_forgets_in_a_crash_is_refused() {
    for setting in ["fsync", "full_page_writes"] {
        let cluster = TestCluster::durable_with(&[(setting, "off")]).await;
        let database = TestDatabase::create_in(&cluster).await;
        refused(&database.url(), &format!("{setting} is off")).await;
    }
}

#[tokio::test]
async fn a_cluster_that_begins_to_forget_makes_the_service_not_ready() {
    let cluster = TestCluster::durable().await;
    let database = TestDatabase::create_in(&cluster).await;
    let admin = connect(&database.config()).await;
    let serving = Serving::start(on(&database.url(), "serve")).await;
    for setting in ["fsync", "full_page_writes"] {
        let alter = async |value: &str| {
            for statement in
                [&format!("ALTER SYSTEM SET {setting} = {value}"), "SELECT pg_reload_conf()"]
            {
                admin.batch_execute(statement).await.unwrap();
            }
        };
        alter("off").await;
        serving.says(503, &format!("{setting} is off")).await;
        alter("on").await;
        serving.says(200, "ok").await;
    }
    assert_eq!(serving.stop(Signal::TERM).await.0.code(), Some(0));
}

#[tokio::test]
async fn a_database_that_is_not_utf8_is_refused() {
    let other = TestDatabase::create().await;
    let admin = connect(&other.config()).await;
    let name = other.config().get_dbname().unwrap().to_owned();
    let url = other.url();
    let (server, _) = url.rsplit_once('/').unwrap();
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let create = format!(
            "CREATE DATABASE odd_{name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        admin.batch_execute(&create).await.unwrap();
        let url = format!("{server}/odd_{name}");
        refused(&url, &format!("the database's encoding is {encoding}")).await;
        admin.batch_execute(&format!("DROP DATABASE odd_{name} WITH (FORCE)")).await.unwrap();
    }
}

#[tokio::test]
async fn a_url_by_which_no_database_can_be_reached_is_refused() {
    let error = fails(on("host=127.0.0.1,127.0.0.2,127.0.0.3 port=1,2 user=me", "serve"), 1).await;
    assert!(error.contains("one port or as many"), "{error}");
}

#[tokio::test]
async fn a_read_only_database_is_told_by_all_in_the_same_words() {
    let database = TestDatabase::create().await;
    let admin = connect(&database.config()).await;
    let name = database.config().get_dbname().unwrap().to_owned();
    let says = "the database is read-only: nothing can be written";
    let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    admin.batch_execute(&set).await.unwrap();
    let choosy = format!("{}?target_session_attrs=read-write", database.url());
    for url in [database.url(), choosy] {
        migrate_and_doctor_refuse(&url, says).await;
    }
}

#[tokio::test]
async fn a_standby_is_told_by_all_in_the_same_words() {
    let primary = TestCluster::durable().await;
    let database = TestDatabase::create_in(&primary).await;
    let standby = primary.standby().await;
    let says = "the database is a standby: nothing can be written";
    migrate_and_doctor_refuse(&database.url_on(&standby), says).await;
}
