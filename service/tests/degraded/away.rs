//! No database: killed, unreachable, or with no connection left.

use crate::{
    rig::{Locked, Rig, all_fail, assert_unavailable, call_each, goes_away, serves_again},
    support::{
        calls::eventually,
        locks::{Ended, connect, somebody_waits},
        network::Link,
    },
};
use keypool_service::testing::database::{TestCluster, TestDatabase};

#[tokio::test]
async fn a_database_that_refuses_connections() {
    goes_away(&mut Rig::start(|_| {}).await, Link::Refusing).await;
}

#[tokio::test]
async fn a_database_whose_packets_vanish() {
    goes_away(&mut Rig::start(|_| {}).await, Link::Silent).await;
}

#[tokio::test]
async fn a_call_that_is_under_way_when_packets_begin_to_vanish_is_answered() {
    let rig = Rig::start(|_| {}).await;
    let locked = Locked::start(&rig.server).await;
    let client = rig.client.clone();
    let calls = tokio::spawn(async move { call_each(&client, "under-way").await });
    somebody_waits(rig.server.database()).await;
    rig.network.set(Link::Silent);
    for answer in calls.await.unwrap() {
        assert_unavailable(&answer.unwrap_err());
    }
    locked.end().await;
    rig.network.set(Link::Up);
    serves_again(&rig).await;
}

#[tokio::test]
async fn a_database_without_a_connection_left() {
    let database = TestDatabase::create().await;
    let admin = connect(&database.config()).await;
    let role = database.create_owner("limited").await;
    let url = database.url_as(&role, "limited");
    let rig = Rig::start_as(database, &url, |_| {}).await;
    let limit = async |limit: i32| {
        admin.batch_execute(&format!("ALTER ROLE {role} CONNECTION LIMIT {limit}")).await.unwrap();
    };
    serves_again(&rig).await; // every lane has its connection
    limit(0).await;
    // What has a connection keeps it, and serves.
    let [reserve, ..] = call_each(&rig.client, "kept").await;
    reserve.unwrap();
    rig.becomes(true).await;

    let ended =
        Ended::sessions(&rig.server.database().config(), &format!("usename = '{role}'")).await;
    all_fail(&rig).await;
    rig.becomes(false).await;
    drop(ended);
    limit(-1).await;
    rig.becomes(true).await;
    serves_again(&rig).await;
}

#[tokio::test]
async fn a_database_that_was_killed() {
    let cluster = TestCluster::durable().await;
    let database = TestDatabase::create_in(&cluster).await;
    let url = database.url();
    let rig = Rig::start_as(database, &url, |_| {}).await;
    cluster.kill_9().await;
    cluster.wait_until_ready().await;
    serves_again(&rig).await;
    rig.becomes(true).await;
}

#[tokio::test]
async fn outages_leave_no_connections_behind() {
    let rig = Rig::start(|_| {}).await;
    for link in [Link::Silent, Link::Refusing, Link::Silent] {
        rig.network.set(link);
        all_fail(&rig).await;
        rig.network.set(Link::Up);
        serves_again(&rig).await;
    }
    // Two lanes for reserves, one for holds, one for uploads, the pool, and the check of readiness.
    eventually("connections are closed", async || rig.network.open() <= 4 + 16 + 1).await;
}
