//! Promise 5: the last resort is shared, never locked or used up, and its use is counted and reported.

use crate::support::{calls::*, client, fill, fill_last_resort, locks::lock, pool, reason, spend};
use keypool_proto::v1::{ErrorReason, ReconcilePoolRequest, UnavailableState, UnusableReason};
use keypool_service::testing::server::TestServer;
use std::time::Duration;

#[tokio::test]
async fn it_is_handed_out_when_no_one_time_package_is_left() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let first = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let second = reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
    assert_eq!((first.last_resort, second.last_resort), (false, true));
}

#[tokio::test]
async fn it_is_shared_and_never_used_up() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let first = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let second = reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
    assert_eq!(reference(&first), reference(&second));
    spend(&mut client, "r1", named(&first)).await.unwrap();
    spend(&mut client, "r2", named(&second)).await.unwrap();
    let third = reserve_one(&mut client, "r3", "bob", "phone").await.unwrap();
    assert_eq!(reference(&third), reference(&first));
}

#[tokio::test]
async fn it_is_handed_out_while_somebody_has_locked_it() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let _other = lock(&server, "SELECT key_package_ref FROM last_resort").await;
    let call = reserve_one(&mut client, "r1", "bob", "phone");
    // Less than the service itself would wait for a lock.
    let package = tokio::time::timeout(Duration::from_secs(5), call).await;
    assert!(package.expect("nothing waits for the lock").unwrap().last_resort);
}

#[tokio::test]
async fn its_use_is_counted_and_reported() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let before = pool(&mut client, "bob", "phone").await;
    assert_eq!(before.last_resort.unwrap().use_count, 0);
    assert!(!before.recommended_action.contains("last-resort"), "{}", before.recommended_action);

    let used = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    assert_eq!(uses(&mut client, "bob", "phone").await, 1);
    spend(&mut client, "r1", named(&used)).await.unwrap();
    reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
    let after = pool(&mut client, "bob", "phone").await;
    assert_eq!(after.last_resort.unwrap().use_count, 2);
    assert!(after.recommended_action.contains("Replace the used last-resort key package"));
    let log = spend_log(&server.endpoint(), <_>::default()).await;
    assert!(log.len() == 2 && log.iter().all(|entry| entry.last_resort), "{log:?}");
}

#[tokio::test]
async fn what_is_given_back_is_not_counted() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let given_back = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
    release(&mut client, "r1", named(&given_back)).await.unwrap();
    assert_eq!(uses(&mut client, "bob", "phone").await, 1);

    let error = spend(&mut client, "r1", named(&given_back)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::ReservationNotFound);
    reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    assert_eq!(uses(&mut client, "bob", "phone").await, 2);
}

#[tokio::test]
async fn a_new_one_takes_its_place_without_breaking_invites_under_way() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let old = refs(&fill_last_resort(&mut client, "bob", "phone").await).remove(0);
    let under_way = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let new = refs(&fill_last_resort(&mut client, "bob", "phone").await).remove(0);
    assert_eq!(uses(&mut client, "bob", "phone").await, 0);

    let next = reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
    assert_eq!(reference(&next), new);
    spend(&mut client, "r1", named(&under_way)).await.unwrap();
    let request = ReconcilePoolRequest {
        user_id: "bob".into(),
        device_id: "phone".into(),
        key_package_refs: vec![old.clone(), new],
        as_of: None,
    };
    let reconciled = client.reconcile_pool(request).await.unwrap().into_inner();
    let [unavailable] = &reconciled.unavailable_key_packages[..] else { panic!("{reconciled:?}") };
    assert_eq!(unavailable.key_package_ref, old);
    assert_eq!(unavailable.state(), UnavailableState::Superseded);
}

#[tokio::test]
async fn a_report_takes_it_from_nobody() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let bad = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let report = release_request("r1", named(&bad), UnusableReason::InvalidSignature);
    client.release_reservation(report).await.unwrap();

    let again = reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
    assert_eq!(reference(&again), reference(&bad));
    let reported = devices(&mut client, "bob").await[0].unusable_key_packages[0].clone();
    assert_eq!(reported.key_package_ref, reference(&bad));
}
