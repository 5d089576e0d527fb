//! `keypool migrate` beside others: who locks the tables, who has tables of the same names, and what a restore left out.

use super::{
    PATIENCE, fails, run, stderr, succeeds,
    support::{calls::eventually, locks::connect, process::keypool},
};
use keypool_service::testing::database::TestDatabase;
use std::process::{Command, Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStderr},
};
use tokio_postgres::Client;

fn command(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = keypool(arguments);
    command.args(["--database-url", &database.url()]);
    command.env("KEYPOOL_LISTEN", "127.0.0.1:0").env("KEYPOOL_ADMIN_LISTEN", "127.0.0.1:0");
    command
}

/// A database as an older version left it: with the first migrations only.
async fn older(database: &TestDatabase) -> Client {
    succeeds(command(database, &["migrate"])).await;
    let client = connect(&database.config()).await;
    let without_sizes = "DROP TABLE sweep_position; DROP INDEX spend_log_late, spend_log_unspent; DROP POLICY empty ON key_package; \
                         ALTER TABLE one_time DROP bytes; ALTER TABLE last_resort DROP bytes";
    client.batch_execute(without_sizes).await.unwrap();
    let without_trust = "ALTER TABLE one_time DROP seen_by, DROP returns, DROP reserved_at; \
                         ALTER TABLE spend_log DROP lapsed_at, DROP unusable_reason; \
                         ALTER TABLE revoked ADD unusable_reason smallint; \
                         ALTER TABLE last_resort ADD unusable_reason smallint";
    client.batch_execute(without_trust).await.unwrap();
    let back = "DROP TABLE served_schema, beat, fence, origin; DROP FUNCTION renew_origin() CASCADE; \
                ALTER TABLE one_time DROP fence; DELETE FROM refinery_schema_history WHERE version >= 4";
    client.batch_execute(back).await.unwrap();
    client
}

/// A migration that is under way, and what it says.
struct Migrating {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Migrating {
    fn start(mut command: Command) -> Self {
        command.env("KEYPOOL_LOG_FORMAT", "json").stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Self { child, said }
    }

    /// The next line that says so.
    async fn says(&mut self, what: &str) -> String {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            let read = self.said.read_line(&mut line).await.unwrap();
            assert!(read > 0, "it ended without saying {what}");
        }
        line
    }

    async fn succeeds(mut self) {
        assert!(self.child.wait().await.unwrap().success());
    }
}

#[tokio::test]
async fn it_waits_for_a_lock_without_keeping_others_waiting_and_says_for_whose() {
    let database = TestDatabase::create().await;
    let reader = older(&database).await;
    let mut config = database.config();
    let dump = connect(config.application_name("a long dump")).await;
    dump.batch_execute("BEGIN; SELECT count(*) FROM one_time").await.unwrap();
    let pid: i32 = dump.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);

    // What a role may have set does not end it.
    let user = database.config().get_user().unwrap().to_owned();
    let name = database.config().get_dbname().unwrap().to_owned();
    for (setting, value) in [
        ("statement_timeout", "'100ms'"),
        ("lock_timeout", "0"),
        ("idle_session_timeout", "'100ms'"),
        ("idle_in_transaction_session_timeout", "'1ms'"),
        ("default_transaction_isolation", "serializable"),
    ] {
        let set = format!("ALTER ROLE {user} IN DATABASE {name} SET {setting} = {value}");
        reader.batch_execute(&set).await.unwrap();
    }

    let mut migrating = Migrating::start(command(&database, &["migrate"]));
    let line = migrating.says("the migration waits").await;
    assert!(
        line.contains(&format!("pid {pid}, a long dump, idle in transaction, since ")),
        "{line}"
    );
    assert!(!line.contains("SELECT count"), "{line}");
    // Reads get through between its tries, each of which ends by itself; nothing waits in the end.
    for _ in 0..3 {
        let try_ = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' \
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let waits = async || reader.query_one(try_, &[]).await.unwrap().get::<_, i64>(0) > 0;
        eventually("it tries", waits).await;
        let read = reader.query("SELECT count(*) FROM one_time", &[]);
        tokio::time::timeout(PATIENCE, read).await.expect("reads get through").unwrap();
        eventually("the try ends", async || !waits().await).await;
    }
    dump.batch_execute("COMMIT").await.unwrap();
    migrating.succeeds().await;
    reader.query("SELECT fence FROM one_time", &[]).await.unwrap();
    assert_eq!(succeeds(command(&database, &["migrate"])).await, "the schema is up to date\n");
}

#[tokio::test]
async fn it_waits_for_its_turn_and_says_who_has_it() {
    let database = TestDatabase::create().await;
    let mut config = database.config();
    let other = connect(config.application_name("another keypool")).await;
    other.batch_execute("SELECT pg_advisory_lock(x'6b6579706f6f6c'::bigint)").await.unwrap();
    let mut migrating = Migrating::start(command(&database, &["migrate"]));
    let line = migrating.says("another migration").await;
    assert!(line.contains("another keypool"), "{line}");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND (wait_event_type = 'Lock' OR state = 'idle in transaction')";
    let waiting: i64 = other.query_one(waiting, &[]).await.unwrap().get(0);
    assert_eq!(waiting, 0, "it holds nothing while it waits");
    drop(other);
    migrating.succeeds().await;
}

#[tokio::test]
async fn rights_are_given_beside_others_that_give_them() {
    let database = TestDatabase::create().await;
    let client = connect(&database.config()).await;
    let role = format!("granted_{}", database.config().get_dbname().unwrap());
    client.batch_execute(&format!("CREATE ROLE {role}")).await.unwrap();
    let migrate = || {
        let mut migrate = command(&database, &["migrate"]);
        migrate.env("KEYPOOL_RUNTIME_ROLE", &role);
        run(migrate)
    };
    let (a, b, c, d) = tokio::join!(migrate(), migrate(), migrate(), migrate());
    for output in [a, b, c, d] {
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

/// What makes a schema one that keypool must not take for its own, and what is said about it.
const NOT_OURS: &[(&str, &str)] = &[
    (
        "CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255), \
         checksum varchar(255)); \
         INSERT INTO refinery_schema_history SELECT n, 'users', '2025-01-01T00:00:00Z', '7' FROM generate_series(1, 40) n",
        "another program's",
    ),
    (
        "CREATE TABLE refinery_schema_history (version int8 PRIMARY KEY, name varchar(255), applied_on varchar(255), \
         checksum varchar(255)); \
         INSERT INTO refinery_schema_history VALUES (20250101120000, 'users', '2025-01-01T00:00:00Z', '7')",
        "another program's",
    ),
    ("CREATE TABLE refinery_schema_history (id uuid, at timestamptz)", "another program's"),
    ("CREATE TABLE device (name text)", "has a table device"),
    ("CREATE TABLE spend_log (name text)", "has a table spend_log"),
];

/// What breaks a schema of ours.
const BROKEN: &[(&str, &str)] = &[
    (
        "UPDATE refinery_schema_history SET checksum = '7' WHERE version = 2",
        "migration 2 is not in it",
    ),
    (
        "UPDATE refinery_schema_history SET name = 'lane' WHERE version = 2",
        "migration 2 is not in it",
    ),
    ("DELETE FROM refinery_schema_history WHERE version = 3", "migration 3 is not in it"),
    ("DROP TABLE refinery_schema_history", "has a table device"),
    ("TRUNCATE refinery_schema_history", "has a table device"),
    ("DROP TABLE one_time", "lacks one_time"),
    ("DROP TABLE served_schema", "lacks served_schema"),
    ("ALTER TABLE spend_log RENAME TO hidden", "lacks spend_log"),
];

/// Checks that every command refuses the database in the same words.
async fn refused(database: &TestDatabase, change: &str, says: &str) {
    for arguments in [&["migrate"][..], &["serve"], &["status"]] {
        let error = fails(command(database, arguments), 1).await;
        assert!(error.contains(says), "{arguments:?} after {change}: {error}");
    }
    let found = run(command(database, &["doctor"])).await;
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("failed   schema") && found.contains(says), "after {change}: {found}");
}

#[tokio::test]
async fn what_is_another_programs_is_refused() {
    for (change, says) in NOT_OURS {
        let database = TestDatabase::create().await;
        connect(&database.config()).await.batch_execute(change).await.unwrap();
        refused(&database, change, says).await;
    }
}

#[tokio::test]
async fn a_schema_that_is_not_whole_is_refused() {
    for (change, says) in BROKEN {
        let database = TestDatabase::create().await;
        succeeds(command(&database, &["migrate"])).await;
        connect(&database.config()).await.batch_execute(change).await.unwrap();
        refused(&database, change, says).await;
    }
}

#[tokio::test]
async fn another_programs_history_in_another_schema_does_no_harm() {
    let database = TestDatabase::create().await;
    let client = connect(&database.config()).await;
    let (theirs, _) = NOT_OURS[0];
    let name = database.config().get_dbname().unwrap().to_owned();
    client
        .batch_execute(&format!(
            "{theirs}; CREATE SCHEMA keypool; ALTER DATABASE {name} SET search_path = keypool"
        ))
        .await
        .unwrap();
    assert_eq!(succeeds(command(&database, &["migrate"])).await, "the schema was migrated\n");
    succeeds(command(&database, &["status"])).await;
}
