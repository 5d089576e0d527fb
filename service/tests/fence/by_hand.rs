//! `keypool fence`, for what no service can find out: a copy of the disk, put back while none ran.

use super::{
    causes,
    support::{calls::reserve_one, client, fill, pool, process::keypool, reason},
    use_one,
};
use keypool_proto::v1::ErrorReason;
use keypool_service::testing::{
    database::{Recovery, TestCluster, TestDatabase},
    server::TestServer,
};
use serde_json::{Value, json};
use std::sync::Arc;

fn fence(database: &TestDatabase, arguments: &[&str]) -> String {
    let output = keypool(&["fence"])
        .args(arguments)
        .args(["--database-url", &database.url()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn an_operator_says_what_no_service_can_know() {
    let mut cluster = TestCluster::durable().await;
    let database = Arc::new(TestDatabase::create_in(&cluster).await);
    let server = TestServer::start_with_shared_database(database.clone(), |_| {}).await;
    let mut before = client(&server).await;
    fill(&mut before, "bob", "phone", 2).await;
    let backup = cluster.base_backup().await;
    use_one(&mut before, "one").await;
    server.stop().await;
    cluster.restore(&backup, Recovery::SameTimeline).await;

    assert_eq!(fence(&database, &["list"]), "no fence was ever raised\n");
    let raised = fence(&database, &[]);
    assert!(raised.starts_with("fence 1 ") && raised.contains("operator"), "{raised}");
    let server = TestServer::start_with_shared_database(database.clone(), |_| {}).await;
    let mut client = client(&server).await;
    let error = reserve_one(&mut client, "two", "bob", "phone").await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::PoolExhausted);
    assert_eq!(pool(&mut client, "bob", "phone").await.quarantined, 2);
}

#[tokio::test]
async fn a_planned_move_is_let_through() {
    let mut cluster = TestCluster::durable().await;
    let database = Arc::new(TestDatabase::create_in(&cluster).await);
    let server = TestServer::start_with_shared_database(database.clone(), |_| {}).await;
    fill(&mut client(&server).await, "bob", "phone", 2).await;
    server.stop().await;
    let backup = cluster.base_backup().await;
    cluster.restore(&backup, Recovery::NewTimeline).await;

    // Before any service has seen the new timeline.
    let listed: Value = serde_json::from_str(&fence(&database, &["lift", "--json"])).unwrap();
    assert_eq!((&listed[0]["number"], &listed[0]["cause"]), (&json!(1), &json!("other_timeline")));
    assert!(listed[0]["lifted_at"].is_string(), "{listed}");
    let server = TestServer::start_with_shared_database(database.clone(), |_| {}).await;
    use_one(&mut client(&server).await, "one").await;
    assert_eq!(causes(database.config()).await, Vec::<String>::new());
}
