//! Promise 8: what the caller was told survives `kill -9` of the database. `faults` kills the service, too.

use crate::support::{
    Client, assert_balanced, calls::*, client, fill, pool, reserve_request, spend, user,
};
use keypool_service::{
    config::DatabaseUrl,
    testing::{
        database::{TestCluster, TestDatabase},
        server::TestServer,
    },
};

async fn start(database: &TestDatabase) -> TestServer {
    TestServer::start_with(|config| config.database_url = Some(DatabaseUrl::new(database.url())))
        .await
}

/// Kills the database, and waits until the service answers again.
async fn kill_9(cluster: &TestCluster, client: &mut Client) {
    cluster.kill_9().await;
    cluster.wait_until_ready().await;
    eventually("the service has a database again", async || {
        let request =
            keypool_proto::v1::GetPoolStatusRequest { user_id: "bob".into(), ..<_>::default() };
        client.get_pool_status(request).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_of_the_database() {
    // Whatever is written later than its acknowledgement is lost.
    let cluster = TestCluster::durable_with(&[("wal_writer_delay", "10s")]).await;
    let database = TestDatabase::create_in(&cluster).await;
    let server = start(&database).await;
    let mut client = client(&server).await;

    fill(&mut client, "bob", "phone", 30).await;
    kill_9(&cluster, &mut client).await;
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 30);

    let held = reserve_one(&mut client, "held", "bob", "phone").await.unwrap();
    kill_9(&cluster, &mut client).await;
    assert_eq!(reserve_one(&mut client, "held", "bob", "phone").await.unwrap(), held);

    for call in 0..10 {
        let reservation = format!("spent{call}");
        let package = reserve_one(&mut client, &reservation, "bob", "phone").await.unwrap();
        spend(&mut client, &reservation, named(&package)).await.unwrap();
    }
    kill_9(&cluster, &mut client).await;
    let books = pool(&mut client, "bob", "phone").await;
    assert_balanced(&books);
    assert_eq!((books.spent, books.reserved, books.available), (10, 1, 19));

    assert_eq!(revoke_all(&mut client, "bob", "phone").await, 20);
    kill_9(&cluster, &mut client).await;
    assert_eq!(pool(&mut client, "bob", "phone").await.revoked, 20);
    client.reserve_key_packages(reserve_request("r", vec![user("bob")])).await.unwrap_err();
}
