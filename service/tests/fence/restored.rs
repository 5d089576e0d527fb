//! Real base backups, put in the place of a database that has handed out more since.

use super::{
    beaten, beats, causes,
    support::{
        Client, assert_balanced,
        calls::{eventually, named, reconcile, reference, refs, reserve_one, revoke_all},
        client, fill,
        locks::connect,
        pool, reason, spend,
    },
    use_one, why_not,
};
use jiff::Timestamp;
use keypool_proto::v1::ErrorReason;
use keypool_service::testing::{
    database::{BaseBackup, Recovery, TestCluster, TestDatabase},
    server::TestServer,
};
use std::collections::{HashMap, HashSet};
use tokio_postgres::Config;

/// A service whose database will forget that two of bob's four packages were spent.
struct Spent {
    cluster: TestCluster,
    backup: BaseBackup,
    server: TestServer,
    client: Client,
    /// What is not spent.
    left: Vec<Vec<u8>>,
}

impl Spent {
    async fn after_a_backup() -> Self {
        let cluster = TestCluster::durable().await;
        let database = TestDatabase::create_in(&cluster).await;
        let server = TestServer::start_with_database(database, |_| {}).await;
        let mut client = client(&server).await;
        let mut left = refs(&fill(&mut client, "bob", "phone", 4).await);
        beaten(server.database().config(), 0, 1).await;
        let backup = cluster.base_backup().await;
        let before = beats(server.database().config()).await;
        for reservation in ["one", "two"] {
            let spent = use_one(&mut client, reservation).await.key_package_ref;
            left.retain(|package| *package != spent);
        }
        beaten(server.database().config(), before, 1).await;
        Self { cluster, backup, server, client, left }
    }

    /// Checks that nobody gets the four packages, and that after a reconcile only those are handed out that the device has.
    async fn assert_kept_back(mut self, cause: &str) {
        let client = &mut self.client;
        assert_eq!(why_not(client, "again").await, ErrorReason::PoolExhausted);
        assert_eq!(causes(self.server.database().config()).await, [cause]);
        let restored = pool(client, "bob", "phone").await;
        assert_eq!((restored.quarantined, restored.spent), (4, 0), "{restored:?}");
        assert_balanced(&restored);

        reconcile(client, "bob", "phone", self.left.clone()).await.unwrap();
        for reservation in ["three", "four"] {
            let package = reserve_one(client, reservation, "bob", "phone").await.unwrap();
            assert!(self.left.contains(&reference(&package)), "a spent package came back");
            spend(client, reservation, named(&package)).await.unwrap();
        }
        let error = reserve_one(client, "five", "bob", "phone").await.unwrap_err();
        assert_eq!(reason(&error), ErrorReason::PoolExhausted);
        assert_balanced(&pool(client, "bob", "phone").await);
    }
}

#[tokio::test]
async fn a_copy_put_back_under_a_running_service_is_found_out() {
    let mut spent = Spent::after_a_backup().await;
    spent.cluster.restore(&spent.backup, Recovery::SameTimeline).await;
    spent.assert_kept_back("fell_back").await;
}

#[tokio::test]
async fn a_recovery_from_an_archive_is_found_out_by_a_service_that_remembers_nothing() {
    let mut spent = Spent::after_a_backup().await;
    let database = spent.server.database().clone();
    spent.server.stop().await;
    spent.cluster.restore(&spent.backup, Recovery::NewTimeline).await;
    spent.server = TestServer::start_with_shared_database(database, |_| {}).await;
    spent.client = client(&spent.server).await;
    spent.assert_kept_back("other_timeline").await;
}

#[tokio::test]
async fn two_replicas_raise_one_fence() {
    let mut spent = Spent::after_a_backup().await;
    let replica = spent.server.replica().await;
    let mut other = client(&replica).await;
    let database = spent.server.database().config();
    let before = beats(database.clone()).await;
    use_one(&mut other, "three").await;
    beaten(database.clone(), before, 1).await;
    spent.cluster.restore(&spent.backup, Recovery::SameTimeline).await;
    for client in [&mut spent.client, &mut other] {
        assert_eq!(why_not(client, "again").await, ErrorReason::PoolExhausted);
    }
    // Each has a new beat in the restored database.
    beaten(database.clone(), 0, 4).await;
    assert_eq!(causes(database).await, ["fell_back"]);
}

#[tokio::test]
async fn a_replica_that_did_nothing_remembers_what_others_did() {
    let mut cluster = TestCluster::durable().await;
    let database = TestDatabase::create_in(&cluster).await;
    let server = TestServer::start_with_database(database, |_| {}).await;
    let idle = server.replica().await;
    let [mut busy, mut rested] = [client(&server).await, client(&idle).await];
    fill(&mut busy, "bob", "phone", 4).await;
    let database = server.database().config();
    beaten(database.clone(), 0, 3).await; // both, and the one that filled the pool again
    let backup = cluster.base_backup().await;
    let before = beats(database.clone()).await;
    use_one(&mut busy, "one").await;
    beaten(database.clone(), before, 1).await;
    server.stop().await;
    looked(&database).await;
    cluster.restore(&backup, Recovery::SameTimeline).await;
    assert_eq!(why_not(&mut rested, "again").await, ErrorReason::PoolExhausted);
    assert_eq!(causes(database).await, ["fell_back"]);
}

/// Waits until a service has looked for what the database knows. It does so again and again on the same connection.
async fn looked(database: &Config) {
    let admin = connect(database).await;
    let looks = "SELECT pid, query_start FROM pg_stat_activity WHERE datname = current_database() \
                 AND query LIKE '/* keypool: fences */%' AND query_start > $1";
    let since = admin.query_one("SELECT clock_timestamp()", &[]).await.unwrap();
    let since: Timestamp = since.get(0);
    let mut seen: HashMap<i32, HashSet<Timestamp>> = HashMap::new();
    eventually("a service has looked", async || {
        for look in admin.query(looks, &[&since]).await.unwrap() {
            seen.entry(look.get(0)).or_default().insert(look.get(1));
        }
        seen.values().any(|looks| looks.len() >= 3)
    })
    .await;
}

#[tokio::test]
async fn a_revocation_that_was_forgotten_is_found_out() {
    let mut cluster = TestCluster::durable().await;
    let database = TestDatabase::create_in(&cluster).await;
    let server = TestServer::start_with_database(database, |_| {}).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 4).await;
    let database = server.database().config();
    beaten(database.clone(), 0, 2).await;
    let backup = cluster.base_backup().await;
    let before = beats(database.clone()).await;
    assert_eq!(revoke_all(&mut client, "bob", "phone").await, 4);
    beaten(database.clone(), before, 1).await;
    cluster.restore(&backup, Recovery::SameTimeline).await;
    assert_eq!(why_not(&mut client, "r").await, ErrorReason::PoolExhausted);
    assert_eq!(causes(database).await, ["fell_back"]);
}

#[tokio::test]
async fn a_crash_raises_no_fence() {
    let spent = Spent::after_a_backup().await;
    let Spent { cluster, server, mut client, .. } = spent;
    fill(&mut client, "bob", "phone", 3).await;
    for crash in 1..=3 {
        cluster.kill_9().await;
        cluster.wait_until_ready().await;
        let reservation = format!("after {crash}");
        eventually("the service has its database again", async || {
            reserve_one(&mut client, &reservation, "bob", "phone").await.is_ok()
        })
        .await;
    }
    assert_eq!(causes(server.database().config()).await, Vec::<String>::new());
}
