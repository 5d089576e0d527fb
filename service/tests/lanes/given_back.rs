//! Holds that no caller was told of are given back, however a call ends.

use super::{
    Hurdle, begin, number, one_lane, request,
    support::{calls::eventually, client, fill, locks::connect},
};
use keypool_service::testing::server::TestServer;

/// A server with a package of bob's phone, and a device of alice's with none.
async fn started() -> TestServer {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    fill(&mut client, "alice", "phone", 1).await;
    super::support::calls::revoke_all(&mut client, "alice", "phone").await;
    // The lane has its connection: to make one, all tables have to be there.
    begin(&server, request("warm", &["alice"])).await.unwrap().unwrap_err();
    server
}

/// Counts takes, those of transactions that fail too.
async fn count_takes(server: &TestServer) {
    let count = "CREATE SEQUENCE takes;
                 CREATE FUNCTION count_take() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM nextval('takes'); RETURN NULL; END $$;
                 CREATE TRIGGER count_take AFTER UPDATE ON one_time FOR EACH ROW
                 WHEN (new.reservation_id IS NOT NULL) EXECUTE FUNCTION count_take()";
    connect(&server.database().config()).await.batch_execute(count).await.unwrap();
}

async fn something_was_taken(server: &TestServer) {
    assert_eq!(number(server, "SELECT count(*) FROM takes WHERE is_called").await, 1);
}

async fn nothing_is_held(server: &TestServer) {
    let held = "SELECT count(*) FROM one_time WHERE reservation_id IS NOT NULL";
    eventually("nothing is held", async || number(server, held).await == 0).await;
}

#[tokio::test]
async fn by_a_call_that_fails_after_it_took_something() {
    // Each statement that comes after the packages were taken, by a table that only it reads of.
    for (statement, table) in [("explain_missing", "pool"), ("last_resort", "last_resort")] {
        for require_all in [false, true] {
            let server = started().await;
            count_takes(&server).await;
            let database = connect(&server.database().config()).await;
            let rename = |from: &str, to: &str| format!("ALTER TABLE {from} RENAME TO {to}");
            database.batch_execute(&rename(table, "gone")).await.unwrap();
            let mut request = request("r", &["bob", "alice"]);
            request.require_all = require_all;
            begin(&server, request).await.unwrap().expect_err(statement);
            something_was_taken(&server).await;
            database.batch_execute(&rename("gone", table)).await.unwrap();
            nothing_is_held(&server).await;
        }
    }
}

#[tokio::test]
async fn by_a_call_whose_neighbour_in_the_batch_is_at_fault() {
    let server = started().await;
    let mut client = client(&server).await;
    fill(&mut client, "mallory", "phone", 1).await;
    let database = connect(&server.database().config()).await;
    database
        .batch_execute(
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'poison'; END $$;
             CREATE TRIGGER poison BEFORE INSERT ON spend_log
             FOR EACH ROW EXECUTE FUNCTION poison()",
        )
        .await
        .unwrap();
    super::support::fill_last_resort(&mut client, "alice", "phone").await;
    fill(&mut client, "carol", "phone", 1).await;
    count_takes(&server).await;
    // Both are in one batch. The first takes one package, and fails at the last resort.
    let (hurdle, first, _) = super::busy_with(&server, "carol").await;
    let faulty = super::queue(&server, request("r", &["bob", "alice"])).await;
    let neighbour = super::queue(&server, request("other", &["mallory"])).await;
    hurdle.end().await;
    first.await.unwrap().unwrap();
    faulty.await.unwrap().unwrap_err();
    neighbour.await.unwrap().unwrap();
    something_was_taken(&server).await;
    let held = "SELECT count(*) FROM one_time WHERE reservation_id = 'r'";
    eventually("it is given back", async || number(&server, held).await == 0).await;
}

#[tokio::test]
async fn by_a_caller_that_leaves_while_it_is_given_back() {
    let server = started().await;
    let mut all = request("r", &["bob", "alice"]);
    all.require_all = true;
    let hurdle = Hurdle::for_releases(&server).await;
    // The package is taken, and then it is given back, as alice has none.
    let call = begin(&server, all);
    hurdle.somebody_waits(&server).await;
    call.abort();
    call.await.unwrap_err();
    hurdle.end().await;
    nothing_is_held(&server).await;
}

#[tokio::test]
async fn although_the_rows_are_locked_at_first() {
    let server = started().await;
    let hurdle = Hurdle::start(&server).await;
    let call = begin(&server, request("r", &["bob"]));
    hurdle.somebody_waits(&server).await;
    call.abort();
    call.await.unwrap_err();
    let lock = connect(&server.database().config()).await;
    hurdle.end().await;
    // Whichever comes first: this waits for the row, or the release passes over it.
    lock.batch_execute("BEGIN; SELECT FROM one_time FOR UPDATE").await.unwrap();
    super::support::locks::has_executed(server.database(), "release").await;
    lock.batch_execute("COMMIT").await.unwrap();
    nothing_is_held(&server).await;
}
