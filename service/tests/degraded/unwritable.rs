//! A database that can't be written, or not by the service's role.

use crate::{
    rig::{Rig, assert_unavailable, call_each, serves_again},
    support::{
        calls::eventually,
        http,
        locks::{Ended, connect, hang_commits},
    },
};
use keypool_service::testing::database::{TestCluster, TestDatabase};
use tokio_postgres::Client;

/// Waits until the service is not ready for this reason.
async fn not_ready(rig: &Rig, reason: &str) {
    let admin = rig.server.server().admin_address();
    eventually(&format!("/readyz says {reason}"), async || {
        let answer = http::get(admin, "/readyz").await;
        answer.status == 503 && answer.text().contains(reason)
    })
    .await;
    rig.becomes(false).await;
}

/// Waits until calls have shown that the service is not ready for this reason. A single call may show another fault: on a busy
/// machine an attempt to connect can run out of time before the database refuses it.
async fn calls_show(rig: &Rig, reason: &str, mut before_each: impl AsyncFnMut()) {
    let admin = rig.server.server().admin_address();
    let mut number = 0;
    eventually(&format!("after calls, /readyz says {reason}"), async || {
        before_each().await;
        number += 1;
        let _answers = call_each(&rig.client, &format!("traffic-{number}")).await;
        http::get(admin, "/readyz").await.text().contains(reason)
    })
    .await;
    rig.becomes(false).await;
}

/// A URL by which connecting may take long, as it does on a busy machine: that is another fault than those of these tests.
fn patient(url: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}connect_timeout=60")
}

/// Makes the database read-only and writable again, while the service runs.
async fn read_only_for_a_while(rig: &Rig, admin: &Client, on: &str, off: &str) {
    serves_again(rig).await; // every lane has its connection
    for (round, statements) in [(1, [on, off]), (2, [on, off])] {
        for statement in statements[0].split(';') {
            admin.batch_execute(statement).await.unwrap();
        }
        not_ready(rig, "the database is read-only: nothing can be written").await;
        let answers = call_each(&rig.client, &format!("refused-{round}")).await;
        assert_unavailable(answers[2].as_ref().unwrap_err());
        for statement in statements[1].split(';') {
            admin.batch_execute(statement).await.unwrap();
        }
        rig.becomes(true).await;
        // No connection stays read-only: whatever is asked once it is ready is done.
        let [reserve, _, upload, status] = call_each(&rig.client, &format!("after-{round}")).await;
        for answer in [reserve, upload, status] {
            answer.unwrap();
        }
    }
    serves_again(rig).await;
}

#[tokio::test]
async fn a_database_that_becomes_read_only() {
    let database = TestDatabase::create().await;
    let url = patient(&database.url());
    let rig = Rig::start_as(database, &url, |_| {}).await;
    let admin = connect(&rig.server.database().config()).await;
    let name = rig.server.database().config().get_dbname().unwrap().to_owned();
    let set =
        |value: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
    let writable = "SET default_transaction_read_only = off";
    admin.batch_execute(writable).await.unwrap();
    read_only_for_a_while(&rig, &admin, &set("on"), &set("off")).await;
}

#[tokio::test]
async fn a_role_that_becomes_read_only() {
    let database = TestDatabase::create().await;
    let admin = connect(&database.config()).await;
    let name = database.config().get_dbname().unwrap().to_owned();
    let role = database.create_owner("secret").await;
    let url = patient(&database.url_as(&role, "secret"));
    let rig = Rig::start_as(database, &url, |_| {}).await;
    for of in [String::new(), format!(" IN DATABASE {name}")] {
        let on = format!("ALTER ROLE {role}{of} SET default_transaction_read_only = on");
        let off = format!("ALTER ROLE {role}{of} RESET default_transaction_read_only");
        read_only_for_a_while(&rig, &admin, &on, &off).await;
    }
}

#[tokio::test]
async fn a_cluster_that_becomes_read_only() {
    let cluster = TestCluster::durable().await;
    let database = TestDatabase::create_in(&cluster).await;
    let url = patient(&database.url());
    let rig = Rig::start_as(database, &url, |_| {}).await;
    let admin = connect(&rig.server.database().config()).await;
    let set = |value: &str| {
        format!("ALTER SYSTEM SET default_transaction_read_only = {value};SELECT pg_reload_conf()")
    };
    read_only_for_a_while(&rig, &admin, &set("on"), &set("off")).await;
}

/// A rig whose service has a role of its own, which owns the tables.
async fn rig_with_role() -> (Rig, Client, String) {
    let database = TestDatabase::create().await;
    let admin = connect(&database.config()).await;
    let role = database.create_owner("secret").await;
    let url = database.url_as(&role, "secret");
    (Rig::start_as(database, &url, |_| {}).await, admin, role)
}

#[tokio::test]
async fn a_database_that_refuses_to_write() {
    let (rig, admin, _role) = rig_with_role().await;
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                  $$ BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = '53100'; END $$; \
                  CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON beat EXECUTE FUNCTION refuse()";
    admin.batch_execute(refuse).await.unwrap();
    calls_show(&rig, "the database refuses to write", async || {}).await;
    admin.batch_execute("DROP TRIGGER refuse ON beat").await.unwrap();
    rig.becomes(true).await;
}

#[tokio::test]
async fn a_role_that_loses_rights() {
    let (rig, admin, role) = rig_with_role().await;
    for right in ["UPDATE ON one_time", "INSERT ON spend_log", "SELECT ON key_package"] {
        admin.batch_execute(&format!("REVOKE {right} FROM {role}")).await.unwrap();
        not_ready(&rig, "lacks rights").await;
        admin.batch_execute(&format!("GRANT {right} TO {role}")).await.unwrap();
        rig.becomes(true).await;
    }
    // A role that does not own its tables sees what policies let through.
    admin.batch_execute("ALTER TABLE key_package FORCE ROW LEVEL SECURITY").await.unwrap();
    for (change, back) in [
        (
            "DROP POLICY read ON key_package",
            "CREATE POLICY read ON key_package FOR SELECT USING (true)",
        ),
        (
            "ALTER POLICY read ON key_package USING (false)",
            "ALTER POLICY read ON key_package USING (true)",
        ),
        (
            "ALTER TABLE one_time FORCE ROW LEVEL SECURITY, ENABLE ROW LEVEL SECURITY;
             CREATE POLICY all_rows ON one_time USING (true);
             CREATE POLICY hide ON one_time AS RESTRICTIVE FOR DELETE USING (false)",
            "DROP POLICY hide ON one_time",
        ),
        (
            "DROP POLICY all_rows ON one_time; CREATE POLICY read ON one_time FOR SELECT USING (true);
             CREATE POLICY add ON one_time FOR INSERT WITH CHECK (true);
             CREATE POLICY change ON one_time FOR UPDATE USING (false);
             CREATE POLICY remove ON one_time FOR DELETE USING (true)",
            "ALTER POLICY change ON one_time USING (true)",
        ),
        (
            "CREATE POLICY hide ON key_package AS RESTRICTIVE USING (false)",
            "DROP POLICY hide ON key_package",
        ),
    ] {
        admin.batch_execute(change).await.unwrap();
        not_ready(&rig, "lacks rights").await;
        admin.batch_execute(back).await.unwrap();
        rig.becomes(true).await;
    }
    serves_again(&rig).await;
}

/// Lets commits hang under traffic until the service says so, and go on.
async fn hangs_for_a_while(rig: &Rig) {
    let database = rig.server.database();
    hang_commits(database, true).await;
    let client = rig.client.clone();
    let traffic = tokio::spawn(async move { call_each(&client, "traffic").await });
    not_ready(rig, "commits hang").await;
    hang_commits(database, false).await;
    rig.becomes(true).await;
    let _answers = traffic.await.unwrap();
    serves_again(rig).await;
}

#[tokio::test]
async fn commits_that_hang() {
    let cluster = TestCluster::durable().await;
    let database = TestDatabase::create_in(&cluster).await;
    let url = database.url();
    let rig = Rig::start_as(database, &url, |_| {}).await;
    hangs_for_a_while(&rig).await;
}

#[tokio::test]
async fn a_role_that_may_not_log_in_any_more() {
    let (rig, admin, role) = rig_with_role().await;
    admin.batch_execute(&format!("ALTER ROLE {role} NOLOGIN")).await.unwrap();
    let ended =
        Ended::sessions(&rig.server.database().config(), &format!("usename = '{role}'")).await;
    not_ready(&rig, "the database refuses the role or its password").await;
    drop(ended);
    admin.batch_execute(&format!("ALTER ROLE {role} LOGIN")).await.unwrap();
    rig.becomes(true).await;
}

#[tokio::test]
async fn lanes_that_get_no_connection_although_the_check_has_one() {
    let (rig, admin, role) = rig_with_role().await;
    serves_again(&rig).await; // every lane has its connection
    admin.batch_execute(&format!("ALTER ROLE {role} NOLOGIN")).await.unwrap();
    // All but the check's and the guard's.
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 \
                     AND query LIKE ANY (ARRAY['/* keypool: take%', '/* keypool: spend%', '/* keypool: upload%'])";
    calls_show(&rig, "the database refuses the role or its password", async || {
        admin.query(terminate, &[&role]).await.unwrap();
    })
    .await;
    admin.batch_execute(&format!("ALTER ROLE {role} LOGIN")).await.unwrap();
    rig.becomes(true).await;
    serves_again(&rig).await;
}

#[tokio::test]
async fn commits_that_hang_where_it_is_not_shown() {
    let cluster = TestCluster::durable().await;
    let database = TestDatabase::create_in(&cluster).await;
    let (admin, role) = (connect(&database.config()).await, database.create_owner("secret").await);
    let url = database.url_as(&role, "secret");
    let rig = Rig::start_as(database, &url, |_| {}).await;
    // A session that is another role does not see what the sessions of its own wait for.
    let hide = format!(
        "CREATE ROLE hidden; GRANT hidden TO {role}; GRANT USAGE ON SCHEMA public TO hidden; \
         GRANT ALL ON ALL TABLES IN SCHEMA public TO hidden; ALTER ROLE {role} SET role = hidden"
    );
    admin.batch_execute(&hide).await.unwrap();
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
    admin.query(terminate, &[&role]).await.unwrap();
    serves_again(&rig).await;
    rig.becomes(true).await;
    hangs_for_a_while(&rig).await;
}
