use super::{
    bob, outcomes, send_bobs,
    support::{client, fill, upload},
};
use jiff::SignedDuration;
use keypool_proto::v1::{PoolHealth, UploadOutcome::Accepted};
use keypool_service::{
    testing::{packages::PackageMaker, server::TestServer},
    types::CipherSuite,
};

#[tokio::test]
async fn an_upload_takes_a_hundred_packages() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let of_suite_3 = PackageMaker::new("bob", "phone").cipher_suite(CipherSuite(3));
    let packages = [of_suite_3.make_many(40), bob().make_many(60)].concat();
    let response = send_bobs(&mut client, packages).await;
    assert_eq!(outcomes(&response), [Accepted; 100]);
    let pools = response.pool_status.unwrap().pools;
    let counts: Vec<_> = pools.iter().map(|pool| (pool.cipher_suite, pool.available)).collect();
    assert_eq!(counts, [(1, 60), (3, 40)], "by ascending cipher suite");
}

#[tokio::test]
async fn the_answer_tells_the_pool_after_the_upload() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let status = fill(&mut client, "bob", "phone", 3).await.pool_status.unwrap();
    assert_eq!((status.user_id.as_str(), status.device_id.as_str()), ("bob", "phone"));
    assert_eq!(status.health(), PoolHealth::Low);
    let pool = &status.pools[0];
    assert_eq!((pool.cipher_suite, pool.accepted, pool.available), (1, 3, 3));
    assert_eq!(pool.recommended_upload_count, 29);
    let status = fill(&mut client, "bob", "phone", 29).await.pool_status.unwrap();
    assert_eq!(status.health(), PoolHealth::Healthy);
    assert_eq!(status.pools[0].recommended_upload_count, 0);
}

#[tokio::test]
async fn the_last_upload_is_the_last_one_that_reached_something() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let package = bob().make();
    let mut last = async |packages| {
        server.clock().advance(SignedDuration::from_secs(1));
        send_bobs(&mut client, packages)
            .await
            .pool_status
            .unwrap()
            .last_upload_time
            .unwrap()
            .seconds
    };
    let first = last(vec![package.clone()]).await;
    let repeated = last(vec![package]).await;
    assert!(repeated > first, "it is as good as accepted");
    assert_eq!(last(vec![b"bad".to_vec()]).await, repeated);
}

#[tokio::test]
async fn users_do_not_see_each_others_packages() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 2).await;
    let carols = PackageMaker::new("carol", "phone").make_many(3);
    let status = upload(&mut client, "carol", "phone", carols).await.pool_status.unwrap();
    assert_eq!(status.pools[0].available, 3);
}
