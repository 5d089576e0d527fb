//! What the planner makes of the statements on a large database.

use super::support::locks::connect;
use keypool_service::testing::server::TestServer;
use serde_json::Value;
use std::{collections::HashMap, fs, path::Path};
use tokio_postgres::{Client, SimpleQueryMessage};

/// A million packages of 31,250 devices, of which half were spent.
const ROWS: &str = "
    CREATE TEMP TABLE p AS
        SELECT (d % 1024)::smallint AS bucket, 'user-' || d AS user_id, 'phone' AS device_id,
               decode(md5(d || '/' || k) || md5(k || '/' || d), 'hex') AS ref, k,
               timestamptz '2030-01-01' + k * interval '1 hour' AS not_after
        FROM generate_series(1, 31250) d, generate_series(1, 32) k;
    INSERT INTO device SELECT bucket, user_id, device_id, not_after FROM p WHERE k = 1;
    INSERT INTO pool SELECT bucket, user_id, device_id, 1, 32, 0 FROM p WHERE k = 1;
    INSERT INTO last_resort (bucket, user_id, device_id, cipher_suite, key_package_ref, not_after, uploaded_at)
        SELECT bucket, user_id, device_id, 1, ref, not_after, not_after FROM p WHERE k = 1;
    INSERT INTO revoked (bucket, user_id, device_id, key_package_ref, cipher_suite, not_after, revoked_at)
        SELECT bucket, user_id, device_id, ref, 1, not_after, not_after FROM p WHERE k = 2;
    INSERT INTO one_time (bucket, user_id, device_id, key_package_ref, cipher_suite, not_after)
        SELECT bucket, user_id, device_id, ref, 1, not_after FROM p;
    INSERT INTO key_package SELECT bucket, ref, user_id, device_id, 1, false, not_after, not_after, not_after,
                                   ref, ref, ref, ref FROM p;
    INSERT INTO spend_log (bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
                           group_id, holder, principal, logged_at, spent_at)
        SELECT bucket, user_id, device_id, 'r' || k, ref, 1, k = 1, ref, 'h', 'h', not_after, not_after
        FROM p WHERE k <= 16;
    ANALYZE;
";

/// Packages of which none was handed out so far.
const EMPTY: &str = "TRUNCATE spend_log, revoked, last_resort; ANALYZE";

/// Statements that look at everything, or are about the connection and its rights. The survey and the search for lapsed holds go
/// bucket by bucket.
const WHOLE: [&str; 10] = [
    "log_lapsed",
    "overview",
    "lowest_pools",
    "survey",
    "check",
    "examine",
    "missing_rights",
    "grants",
    "guarded",
    "guard",
];

/// Statements that are planned whenever they are run.
const PLANNED_EACH_TIME: [&str; 5] =
    ["log_lapsed", "purge_spend_log", "purge_key_packages", "empty_spent", "empty_superseded"];

/// Tables of a few rows, whatever the service keeps.
const SMALL: [&str; 4] = ["fence", "beat", "origin", "pg_database"];

/// The settings with which the service plans.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off";

#[tokio::test]
async fn no_statement_reads_a_whole_table_of_a_million_rows() {
    let server = TestServer::start().await;
    let client = connect(&server.database().config()).await;
    client.batch_execute(ROWS).await.unwrap();
    every_statement_searches(&client, &[]).await;
    server.stop().await;
}

/// A statement is planned when it is first run, which may be on the day when keypool was installed; until the tables are
/// analyzed it is not planned again.
#[tokio::test]
async fn no_statement_will_read_a_whole_bucket_that_was_planned_on_empty_tables() {
    let server = TestServer::start().await;
    let client = connect(&server.database().config()).await;
    every_statement_searches(&client, &PLANNED_EACH_TIME).await;
    server.stop().await;
}

/// What was analyzed while it was empty seems to stay empty: the planner expects a row at most.
#[tokio::test]
async fn no_statement_will_read_a_whole_bucket_that_was_planned_on_tables_analyzed_while_empty() {
    let server = TestServer::start().await;
    let client = connect(&server.database().config()).await;
    client.batch_execute("ANALYZE").await.unwrap();
    every_statement_searches(&client, &PLANNED_EACH_TIME).await;
    client.batch_execute(ROWS).await.unwrap();
    client.batch_execute(EMPTY).await.unwrap();
    every_statement_searches(&client, &PLANNED_EACH_TIME).await;
    server.stop().await;
}

/// Sees that every statement but some finds its rows by indexes, and by more of them than the bucket.
async fn every_statement_searches(client: &Client, but: &[&str]) {
    client.batch_execute("DEALLOCATE ALL").await.unwrap();
    client.batch_execute(SETTINGS).await.unwrap();
    let second_columns = second_columns(client).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sql");
    let (mut checked, mut faults) = (0, Vec::new());
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let sql = fs::read_to_string(&file).unwrap();
        if WHOLE.contains(&name.as_str()) || but.contains(&name.as_str()) {
            continue;
        }
        let plan = plan(client, &name, &sql).await;
        let mut nodes = Vec::new();
        reads_much(&plan, &second_columns, &mut nodes);
        if !nodes.is_empty() {
            faults.push(format!("{name}: {nodes:#?}"));
        }
        checked += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 15, "{checked}");
}

/// The column of each index that follows the bucket.
async fn second_columns(client: &Client) -> HashMap<String, String> {
    let rows = client
        .query(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid, 2, false) FROM pg_index
             WHERE indrelid::regclass::text NOT LIKE 'pg_%'",
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// What the service's connections will make of a statement, whatever its parameters are.
async fn plan(client: &Client, name: &str, sql: &str) -> Value {
    client.batch_execute(&format!("PREPARE \"{name}\" AS {sql}")).await.unwrap();
    let nulls = match parameters(sql) {
        0 => String::new(),
        count => format!("({})", vec!["NULL"; count].join(", ")),
    };
    let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE \"{name}\" {nulls}");
    let rows = client.simple_query(&explain).await.unwrap();
    let text = rows.iter().find_map(|row| match row {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let mut explained: Value = serde_json::from_str(text.unwrap()).unwrap();
    explained[0]["Plan"].take()
}

/// How many parameters a statement has.
fn parameters(sql: &str) -> usize {
    (1..100).rev().find(|n| sql.contains(&format!("${n}"))).unwrap_or(0)
}

/// Collects the nodes of a plan that read a whole table, a whole index, or all that a bucket has in it.
fn reads_much(node: &Value, second_columns: &HashMap<String, String>, faults: &mut Vec<String>) {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let by_index = ["Index Scan", "Index Only Scan", "Bitmap Index Scan"].contains(&kind);
    let searches = || {
        let index = node["Index Name"].as_str().unwrap_or_default();
        let condition = node["Index Cond"].as_str().unwrap_or_default();
        condition.contains(&second_columns[index])
    };
    let is_small = node["Relation Name"].as_str().is_some_and(|table| SMALL.contains(&table));
    if !is_small && (kind == "Seq Scan" || by_index && !searches()) {
        let [table, index] = ["Relation Name", "Index Name"].map(|key| &node[key]);
        faults.push(format!("{kind} on {table} {index}: {}", node["Index Cond"]));
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        reads_much(child, second_columns, faults);
    }
}
