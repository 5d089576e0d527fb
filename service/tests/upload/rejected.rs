//! Packages that are rejected for whose they are, and because the pool is full.

use super::{
    bob, count, outcomes, rejection, send, send_bobs, small_pools, start_with_user_credentials,
    support::{
        calls::{ending_in, named, packages, reserve_one},
        client, device, fill, fill_last_resort, pool, reason, reserve, spend, upload,
    },
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    ErrorReason, GetPoolStatusRequest, RejectionReason as Reason,
    UploadOutcome::{Accepted, AlreadyPresent, Rejected},
};
use keypool_service::{
    testing::{packages::PackageMaker, server::TestServer},
    types::CipherSuite,
};

#[tokio::test]
async fn packages_of_another_device_are_rejected_and_make_no_device() {
    let server = start_with_user_credentials().await;
    let mut client = client(&server).await;
    let maker = PackageMaker::for_identity("bob");
    let shared = vec![maker.make(), maker.make()];
    upload(&mut client, "bob", "phone", shared.clone()).await;

    let response = send(&mut client, "bob", "laptop", shared.clone()).await;
    assert_eq!(count(&response, Reason::BelongsToOtherDevice), 2, "{response:?}");
    let of_laptop = GetPoolStatusRequest { user_id: "bob".into(), device_id: "laptop".into() };
    let unknown = client.get_pool_status(of_laptop).await.unwrap_err();
    assert_eq!(reason(&unknown), ErrorReason::UnknownDevice);

    let own = maker.make();
    let response = send(&mut client, "bob", "laptop", vec![shared[0].clone(), own]).await;
    assert_eq!(outcomes(&response), [Rejected, Accepted]);
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 2);
    assert_eq!(pool(&mut client, "bob", "laptop").await.available, 1);
}

#[tokio::test]
async fn a_full_pool_takes_no_more_one_time_packages() {
    let server = TestServer::start_with(small_pools).await;
    let mut client = client(&server).await;
    let sent = bob().make_many(6);
    let response = send_bobs(&mut client, sent.clone()).await;
    assert_eq!(outcomes(&response)[..4], [Accepted; 4]);
    assert_eq!(count(&response, Reason::PoolFull), 2);
    assert_eq!(response.pool_status.unwrap().pools[0].recommended_upload_count, 0);

    // What is there already takes no room, and neither do others of its kind.
    assert_eq!(outcomes(&send_bobs(&mut client, sent[..4].to_vec()).await), [AlreadyPresent; 4]);
    fill_last_resort(&mut client, "bob", "phone").await;
    fill(&mut client, "bob", "laptop", 4).await;
    let of_suite_2 = PackageMaker::new("bob", "phone").cipher_suite(CipherSuite(2));
    upload(&mut client, "bob", "phone", vec![of_suite_2.make()]).await;
}

#[tokio::test]
async fn spending_makes_room_in_a_full_pool_and_holding_does_not() {
    let server = TestServer::start_with(small_pools).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 4).await;
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    let full = send_bobs(&mut client, vec![bob().make()]).await;
    assert_eq!(rejection(&full), Reason::PoolFull);

    spend(&mut client, "r", named(&held)).await.unwrap();
    let sent = bob().make_many(2);
    let response = send_bobs(&mut client, sent.clone()).await;
    assert_eq!(outcomes(&response), [Accepted, Rejected]);
    let next = reserve(&mut client, "s", vec![device("bob", "phone")]).await.unwrap();
    spend(&mut client, "s", named(&packages(&next)[0])).await.unwrap();
    // What found the pool full may come again.
    assert_eq!(outcomes(&send_bobs(&mut client, sent).await), [AlreadyPresent, Accepted]);
}

#[tokio::test]
async fn expired_packages_take_no_room() {
    let server = TestServer::start_with(small_pools).await;
    let mut client = client(&server).await;
    let short = ending_in("bob", "phone", SignedDuration::from_hours(1));
    upload(&mut client, "bob", "phone", short.make_many(4)).await;
    server.clock().advance(SignedDuration::from_hours(2));
    fill(&mut client, "bob", "phone", 4).await;
    let full = send_bobs(&mut client, vec![bob().make()]).await;
    assert_eq!(rejection(&full), Reason::PoolFull);
}

#[tokio::test]
async fn an_identity_that_two_devices_share_fills_neither_pool() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let maker = PackageMaker::for_identity("alice/x/phone");
    for (user, device) in [("alice/x", "phone"), ("alice", "x/phone")] {
        let response = send(&mut client, user, device, vec![maker.make()]).await;
        assert_eq!(rejection(&response), Reason::AmbiguousIdentity, "{user}, {device}");
        assert!(response.results[0].message.contains("without \"/\""), "{response:?}");
    }
    // No other user and device have this one.
    let maker = PackageMaker::for_identity("/alice/phone");
    let response = send(&mut client, "/alice", "phone", vec![maker.make()]).await;
    assert_eq!(outcomes(&response), [Accepted], "{response:?}");
}
