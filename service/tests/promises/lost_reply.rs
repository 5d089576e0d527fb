//! Promise 3: every call can be repeated word for word, with the same effect and the same answer.

use crate::support::{
    Client, calls::*, client, device, fill, fill_last_resort, locks::has_executed, locks::lock,
    names, pool, reason, reserve, reserve_request, spend, spend_request, upload, upload_request,
    user,
};
use keypool_proto::v1::{
    AllKeyPackages, ErrorReason, ReconcilePoolRequest, UnusableReason, UploadOutcome,
    revoke_key_packages_request::Selector,
};
use keypool_service::testing::{packages::PackageMaker, server::TestServer};
use std::collections::HashSet;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_repeated_reserve_returns_the_same_packages() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 3).await;
    fill(&mut client, "bob", "tablet", 3).await;
    let targets = || vec![user("bob"), user("nobody")];
    let first = reserve(&mut client, "r1", targets()).await.unwrap();
    assert_eq!((packages(&first).len(), first.missing.len()), (2, 1));
    assert_eq!(reserve(&mut client, "r1", targets()).await.unwrap(), first);
    assert_eq!(pool(&mut client, "bob", "phone").await.reserved, 1);
}

#[tokio::test]
async fn a_repeated_reserve_at_another_replica_returns_the_same_packages() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let (mut here, mut there) = (client(&server).await, client(&replica).await);
    fill(&mut here, "bob", "phone", 3).await;
    let first = reserve(&mut here, "r1", vec![user("bob")]).await.unwrap();
    assert_eq!(reserve(&mut there, "r1", vec![user("bob")]).await.unwrap(), first);
}

#[tokio::test]
async fn a_reserve_repeated_after_the_spend_returns_what_was_spent() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 3).await;
    let held = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    assert!(!held.spent);
    spend(&mut client, "r1", named(&held)).await.unwrap();

    let again = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    assert_eq!(again.name, held.name);
    assert_eq!(again.key_package, held.key_package);
    assert_eq!((again.spent, again.hold_expire_time), (true, None));
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 2);
}

#[tokio::test]
async fn a_repeated_reserve_of_the_last_resort_counts_once() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let first = reserve(&mut client, "r1", vec![user("bob")]).await.unwrap();
    assert_eq!(reserve(&mut client, "r1", vec![user("bob")]).await.unwrap(), first);
    assert_eq!(uses(&mut client, "bob", "phone").await, 1);
}

#[tokio::test]
async fn the_same_reservation_id_for_another_group_is_refused() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 3).await;
    let mut other_group = reserve_request("r1", vec![device("bob", "phone")]);
    other_group.group_id = b"another".into();

    let held = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let error = client.reserve_key_packages(other_group.clone()).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::ReservationIdReused);
    spend(&mut client, "r1", named(&held)).await.unwrap();
    let error = client.reserve_key_packages(other_group).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::ReservationIdReused);
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.available, pool.reserved, pool.spent), (2, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_reserves_at_the_same_time_hold_one_package() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    for round in 0..20 {
        let name = format!("user{round}");
        fill(&mut client, &name, "phone", 4).await;
        let mut calls = JoinSet::new();
        for _ in 0..4 {
            let (mut client, name) = (client.clone(), name.clone());
            calls.spawn(async move { reserve_one(&mut client, "r1", &name, "phone").await });
        }
        let answers: Vec<_> = calls.join_all().await.into_iter().map(Result::unwrap).collect();
        let different: HashSet<_> = answers.iter().map(reference).collect();
        let reserved = pool(&mut client, &name, "phone").await.reserved;
        assert_eq!((different.len(), reserved), (1, 1), "round {round}");
    }
}

#[tokio::test]
async fn a_reserve_repeated_before_the_first_has_ended_holds_one_package() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 3).await;
    // Enough database connections that the repetition does not have to wait for that of the first.
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let mut client = client.clone();
        calls.spawn(async move { devices(&mut client, "bob").await });
    }
    calls.join_all().await;

    let other = lock(&server, "SELECT key_package_ref FROM one_time").await;
    let call =
        async |mut client: Client| reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let abandoned = tokio::spawn(call(client.clone()));
    has_executed(server.database(), "take").await;
    abandoned.abort();
    let repeated = tokio::spawn(call(client.clone()));
    // Another call that came later has been answered: so the repetition has arrived, too.
    devices(&mut client, "bob").await;
    other.batch_execute("ROLLBACK").await.unwrap();
    let got = repeated.await.unwrap();
    assert_eq!(call(client.clone()).await, got);
    assert_eq!(pool(&mut client, "bob", "phone").await.reserved, 1);
}

#[tokio::test]
async fn a_repeated_spend_succeeds_and_counts_once() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    fill_last_resort(&mut client, "bob", "tablet").await;
    let held = reserve(&mut client, "r1", vec![user("bob")]).await.unwrap();
    let request = spend_request("r1", names(&held));
    let first = client.spend_reservation(request.clone()).await.unwrap().into_inner();
    let again = client.spend_reservation(request).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(pool(&mut client, "bob", "phone").await.spent, 1);
    assert_eq!(uses(&mut client, "bob", "tablet").await, 1);
    assert_eq!(spend_log(&server.endpoint(), <_>::default()).await.len(), 2);
}

#[tokio::test]
async fn a_repeated_release_succeeds_and_takes_nothing_from_others() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let held = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let request = release_request("r1", named(&held), UnusableReason::Unspecified);
    let first = client.release_reservation(request.clone()).await.unwrap().into_inner();
    let again = client.release_reservation(request.clone()).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 1);

    reserve_one(&mut client, "r2", "bob", "phone").await.unwrap();
    client.release_reservation(request).await.unwrap();
    assert_eq!(pool(&mut client, "bob", "phone").await.reserved, 1);
}

#[tokio::test]
async fn a_repeated_report_of_an_unusable_package_counts_once() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 2).await;
    let held = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let request = release_request("r1", named(&held), UnusableReason::Malformed);
    let first = client.release_reservation(request.clone()).await.unwrap().into_inner();
    let status = devices(&mut client, "bob").await;
    let again = client.release_reservation(request).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(devices(&mut client, "bob").await, status);
    assert_eq!(status[0].unusable_key_packages.len(), 1);
}

#[tokio::test]
async fn a_repeated_extend_prolongs_the_same_hold() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 2).await;
    let held = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let request = extend_request("r1", named(&held));
    let first = client.extend_reservation(request.clone()).await.unwrap().into_inner();
    let again = client.extend_reservation(request).await.unwrap().into_inner();
    assert_eq!(first.outcomes, again.outcomes);
    // Ten minutes from the call on, and never less than before.
    let ends = [first, again].map(|response| time(&response.expire_time.unwrap()));
    assert!(ends[1] >= ends[0] && ends[1] < ends[0] + jiff::SignedDuration::from_mins(1));
    assert_eq!(pool(&mut client, "bob", "phone").await.reserved, 1);
}

#[tokio::test]
async fn a_repeated_upload_adds_nothing() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let maker = PackageMaker::new("bob", "phone");
    let mut packages = maker.make_many(3);
    packages.push(maker.last_resort().make());
    let first = upload(&mut client, "bob", "phone", packages.clone()).await;
    let request = upload_request("bob", "phone", packages);
    let again = client.upload_key_packages(request).await.unwrap().into_inner();
    assert_eq!(refs(&first), refs(&again));
    let present = |result: &keypool_proto::v1::UploadResult| result.outcome();
    assert!(again.results.iter().map(present).all(|it| it == UploadOutcome::AlreadyPresent));
    let pools = [first, again].map(|response| response.pool_status.unwrap().pools);
    assert_eq!(pools[0], pools[1]);
}

#[tokio::test]
async fn a_repeated_revoke_revokes_nothing_more() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 3).await;
    let request = revoke_request("bob", "phone", Selector::All(AllKeyPackages {}));
    let first = client.revoke_key_packages(request.clone()).await.unwrap().into_inner();
    let status = devices(&mut client, "bob").await;
    let again = client.revoke_key_packages(request).await.unwrap().into_inner();
    assert_eq!((first.revoked_count, again.revoked_count), (3, 0));
    assert_eq!(devices(&mut client, "bob").await, status);
}

#[tokio::test]
async fn a_repeated_reconcile_changes_nothing_more() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let kept = refs(&fill(&mut client, "bob", "phone", 3).await);
    let request = ReconcilePoolRequest {
        user_id: "bob".into(),
        device_id: "phone".into(),
        key_package_refs: vec![kept[0].clone(), vec![7; 32]],
        as_of: None,
    };
    let first = client.reconcile_pool(request.clone()).await.unwrap().into_inner();
    let again = client.reconcile_pool(request).await.unwrap().into_inner();
    assert_eq!(first.revoked_key_package_refs.len(), 2);
    assert!(again.revoked_key_package_refs.is_empty());
    assert_eq!(first.unavailable_key_packages, again.unavailable_key_packages);
    assert_eq!(first.pool_status, again.pool_status);
}
