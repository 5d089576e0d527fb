//! `kill -9` of the service, of its database, and of both.

use crate::support::{calls::*, fill, pool, process::DataDir, process::Keypool, spend};
use keypool_service::testing::database::TestDatabase;

#[tokio::test]
async fn an_invite_goes_on_after_the_service_was_killed() {
    let database = TestDatabase::create().await;
    let url = database.url();
    let flags = ["--database-url", &url];
    let keypool = Keypool::start(&flags).await;
    let mut client = keypool.client().await;
    fill(&mut client, "bob", "phone", 1).await;
    let held = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    keypool.kill_9().await;
    spend(&mut client, "r1", named(&held)).await.unwrap_err();

    let keypool = Keypool::start(&flags).await;
    let mut client = keypool.client().await;
    spend(&mut client, "r1", named(&held)).await.unwrap();
    assert_eq!(pool(&mut client, "bob", "phone").await.spent, 1);
}

#[tokio::test]
async fn a_private_database_survives_that_both_are_killed() {
    let folder = DataDir::new();
    let path = folder.path();
    let flags = ["--data-dir", path.to_str().unwrap()];
    let keypool = Keypool::start(&flags).await;
    let mut client = keypool.client().await;
    fill(&mut client, "bob", "phone", 10).await;
    for call in 0..5 {
        let reservation = format!("r{call}");
        let held = reserve_one(&mut client, &reservation, "bob", "phone").await.unwrap();
        spend(&mut client, &reservation, named(&held)).await.unwrap();
    }
    let held = reserve_one(&mut client, "held", "bob", "phone").await.unwrap();
    keypool.kill_9().await;
    folder.kill_9_postgres().await;

    let keypool = Keypool::start(&flags).await;
    let mut client = keypool.client().await;
    let books = pool(&mut client, "bob", "phone").await;
    assert_eq!((books.spent, books.reserved, books.available), (5, 1, 4));
    assert_eq!(reserve_one(&mut client, "held", "bob", "phone").await.unwrap(), held);
}

#[tokio::test]
async fn a_killed_service_leaves_a_database_that_the_next_one_takes_over() {
    let folder = DataDir::new();
    let path = folder.path();
    let flags = ["--data-dir", path.to_str().unwrap()];
    let keypool = Keypool::start(&flags).await;
    fill(&mut keypool.client().await, "bob", "phone", 3).await;
    keypool.kill_9().await;
    let keypool = Keypool::start(&flags).await;
    assert_eq!(pool(&mut keypool.client().await, "bob", "phone").await.available, 3);
}
