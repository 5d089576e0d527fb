use super::{
    busy, one_lane, queue, request,
    support::{client, device, fill, reason, reserve},
};
use keypool_proto::v1::ErrorReason;
use keypool_service::{pool::PoolError, testing::server::TestServer};
use tonic_types::StatusExt;

#[tokio::test]
async fn a_full_lane_refuses_at_once_and_serves_again_when_there_is_room() {
    let server = TestServer::start_with(|config| {
        one_lane(config);
        config.lanes.queue_packages = 100;
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "alice", "phone", 1).await;
    fill(&mut client, "bob", "phone", 64).await;
    let (blocked, first, _) = busy(&server).await;
    let mut waiting = Vec::new();
    // The one that the lane is busy with has its place until it is answered.
    for n in 0..99 {
        waiting.push(queue(&server, request(&format!("r{n}"), &["bob"])).await);
    }
    let refused = server.server().pool().reserve(request("late", &["bob"])).await.unwrap_err();
    assert!(matches!(refused, PoolError::Overloaded), "{refused:?}");
    let refused = reserve(&mut client, "late", vec![device("bob", "phone")]).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::Overloaded);
    assert!(refused.get_error_details().retry_info().is_some());

    blocked.end().await;
    first.await.unwrap().unwrap();
    let mut served = 0;
    for call in waiting {
        served += usize::from(call.await.unwrap().is_ok());
    }
    assert_eq!(served, 64, "as many as there are packages");
    fill(&mut client, "carol", "phone", 1).await;
    reserve(&mut client, "again", vec![device("carol", "phone")]).await.unwrap();
}
