//! The promises of the service, each with a test that fails if it is broken.

mod support;

use keypool_service::testing::server::TestServer;
use support::{client, device, fill, names, pool, reserve, spend};

#[tokio::test]
async fn a_reserved_package_is_spent_once() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 2).await;
    let reserved = reserve(&mut client, "r1", vec![device("bob", "phone")]).await.unwrap();
    spend(&mut client, "r1", names(&reserved)).await.unwrap();
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.available, pool.spent), (1, 1));
    support::assert_balanced(&pool);
}
