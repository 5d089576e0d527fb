//! An error says that nothing was done only if nothing was.

use crate::support::{
    calls::{eventually, named, reserve_one},
    client, fill,
    locks::connect,
    pool, reason, spend_request, upload_request,
};
use keypool_proto::v1::{ErrorReason, GetPoolStatusRequest, KeyPackageName, ReconcilePoolRequest};
use keypool_service::testing::{packages::PackageMaker, server::TestServer};
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// The reasons that promise that nothing was done.
const NOTHING_DONE: [ErrorReason; 3] =
    [ErrorReason::Overloaded, ErrorReason::ShuttingDown, ErrorReason::RateLimited];

/// Uses the server's only pooled connection until it is dropped: statuses that wait for a table.
struct Crowd {
    _lock: tokio_postgres::Client,
    _statuses: JoinSet<()>,
}

impl Crowd {
    async fn start(server: &TestServer, table: &str) -> Self {
        let lock = connect(&server.database().config()).await;
        let lock_table = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        lock.batch_execute(&lock_table).await.unwrap();
        // Each waits for a while only: so many that a call's turn never comes.
        let mut statuses = JoinSet::new();
        for _ in 0..20 {
            let mut client = client(server).await;
            statuses.spawn(async move {
                loop {
                    let request = GetPoolStatusRequest { user_id: "bob".into(), ..<_>::default() };
                    drop(client.get_pool_status(request).await);
                }
            });
        }
        eventually("the connection is in use", async || {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                         AND wait_event_type = 'Lock' AND query LIKE '/* keypool: %'";
            lock.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;
        Self { _lock: lock, _statuses: statuses }
    }
}

async fn crowded() -> TestServer {
    let server = TestServer::start_with(|config| config.database_connections = 1).await;
    fill(&mut client(&server).await, "bob", "phone", 3).await;
    server
}

fn assert_honest(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(!NOTHING_DONE.contains(&reason(status)), "{status:?}");
}

#[tokio::test]
async fn a_spend_of_which_a_part_was_done() {
    let server = crowded().await;
    let mut client = client(&server).await;
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    let mut names = named(&held);
    names.push(KeyPackageName { key_package_ref: vec![7; 32], ..names[0].clone() });
    let crowd = Crowd::start(&server, "pool").await;
    let error = client.spend_reservation(spend_request("r", names)).await.unwrap_err();
    assert_honest(&error);
    drop(crowd);
    eventually("the books can be read", async || {
        pool(&mut client, "bob", "phone").await.spent == 1
    })
    .await;
}

#[tokio::test]
async fn an_upload_whose_packages_were_stored() {
    let server = crowded().await;
    let mut client = client(&server).await;
    let crowd = Crowd::start(&server, "spend_log").await;
    let package = PackageMaker::new("bob", "phone").make();
    let upload = upload_request("bob", "phone", vec![package]);
    // One-time packages go into other tables than the one that is locked.
    let error = client.upload_key_packages(upload).await.unwrap_err();
    assert_honest(&error);
    drop(crowd);
    eventually("they were stored", async || pool(&mut client, "bob", "phone").await.available == 4)
        .await;
}

#[tokio::test]
async fn a_reconcile_that_may_have_revoked_something() {
    let server = TestServer::start_with(|config| config.database_connections = 1).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 3).await;
    // Its second statement is terminated again and again, after the first has revoked.
    let database = connect(&server.database().config()).await;
    database
        .batch_execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(60); RETURN new; END $$;
             CREATE TRIGGER slow AFTER DELETE ON one_time FOR EACH STATEMENT EXECUTE FUNCTION slow()",
        )
        .await
        .unwrap();
    let request =
        ReconcilePoolRequest { user_id: "bob".into(), device_id: "phone".into(), ..<_>::default() };
    let call = tokio::spawn(async move { client.reconcile_pool(request).await });
    eventually("it is given up", async || {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event = 'PgSleep'";
        database.query_one(end, &[]).await.unwrap();
        call.is_finished()
    })
    .await;
    assert_honest(&call.await.unwrap().unwrap_err());
}
