//! What a device should do, by the state of its pool.

use super::{
    DAY, HOUR,
    support::{
        Client,
        calls::{ending_in, reserve_one},
        client, fill, fill_last_resort, pool, upload,
    },
    use_one,
};
use keypool_proto::v1::PoolHealth::{self, Empty, Healthy, Low};
use keypool_service::testing::server::TestServer;

async fn advice(client: &mut Client) -> (PoolHealth, u32, String) {
    let pool = pool(client, "bob", "phone").await;
    (pool.health(), pool.recommended_upload_count, pool.recommended_action)
}

fn says(health: PoolHealth, count: u32, action: &str) -> (PoolHealth, u32, String) {
    (health, count, action.to_owned())
}

#[tokio::test]
async fn health_is_low_below_8_and_empty_at_0() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let empty = says(Empty, 32, "Upload new key packages immediately");
    assert_eq!(advice(&mut client).await, empty);
    fill(&mut client, "bob", "phone", 1).await;
    assert_eq!(advice(&mut client).await, says(Low, 31, "Replenish key package pool"));
    fill(&mut client, "bob", "phone", 6).await;
    assert_eq!(advice(&mut client).await, says(Low, 25, "Replenish key package pool"));
    fill(&mut client, "bob", "phone", 1).await;
    assert_eq!(advice(&mut client).await, says(Healthy, 24, ""));
    fill(&mut client, "bob", "phone", 24).await;
    assert_eq!(advice(&mut client).await, says(Healthy, 0, ""));
}

#[tokio::test]
async fn a_missing_or_used_last_resort_is_to_be_replaced() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let missing = "Replenish key package pool; Upload a last-resort key package";
    assert_eq!(advice(&mut client).await, says(Low, 31, missing));
    fill_last_resort(&mut client, "bob", "phone").await;
    use_one(&mut client, "the only one").await;
    reserve_one(&mut client, "last resort", "bob", "phone").await.unwrap();
    let used = "Upload new key packages immediately; Replace the used last-resort key package";
    assert_eq!(advice(&mut client).await, says(Empty, 32, used));
    fill_last_resort(&mut client, "bob", "phone").await;
    let empty = says(Empty, 32, "Upload new key packages immediately");
    assert_eq!(advice(&mut client).await, empty);
}

#[tokio::test]
async fn packages_that_expire_soon_are_to_be_replaced_as_far_as_the_cap_allows() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    upload(&mut client, "bob", "phone", ending_in("bob", "phone", DAY).make_many(40)).await;
    let replace = "Replace key packages that expire soon";
    assert_eq!(advice(&mut client).await, says(Healthy, 24, replace));
    server.clock().advance(HOUR);
    use_one(&mut client, "spent").await;
    reserve_one(&mut client, "held", "bob", "phone").await.unwrap();
    assert_eq!(advice(&mut client).await, says(Healthy, 25, replace), "a held one takes room");
}

#[tokio::test]
async fn the_numbers_are_configuration() {
    let server = TestServer::start_with(|config| {
        (config.pool.low_watermark, config.pool.target, config.pool.cap) = (2, 3, 3);
    })
    .await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    fill(&mut client, "bob", "phone", 1).await;
    assert_eq!(advice(&mut client).await, says(Low, 2, "Replenish key package pool"));
    fill(&mut client, "bob", "phone", 1).await;
    assert_eq!(advice(&mut client).await, says(Healthy, 1, ""));
}
