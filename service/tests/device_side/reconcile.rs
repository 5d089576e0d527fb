use super::{
    HOUR, assert_unknown, find_unusable,
    support::{
        Client, assert_balanced,
        calls::{self, ending_in, refs, reserve_one, revoke_request},
        client, fill, fill_last_resort, pool, spend, upload,
    },
    use_one,
};
use keypool_proto::v1::{
    ErrorReason, GetPoolStatusRequest, KeyPackageRefs, ReconcilePoolRequest, ReconcilePoolResponse,
    UnavailableState::{self, Expired, Reserved, Revoked, Spent, Superseded, Unknown},
    UnusableReason,
    revoke_key_packages_request::Selector,
};
use keypool_service::testing::server::TestServer;

/// Reconciles bob's phone.
async fn reconcile(client: &mut Client, refs: Vec<Vec<u8>>) -> ReconcilePoolResponse {
    calls::reconcile(client, "bob", "phone", refs).await.unwrap()
}

fn states(response: &ReconcilePoolResponse) -> Vec<(Vec<u8>, UnavailableState)> {
    let one = response.unavailable_key_packages.iter();
    let mut states: Vec<_> = one.map(|one| (one.key_package_ref.clone(), one.state())).collect();
    states.sort();
    states
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

#[tokio::test]
async fn packages_that_the_device_has_lost_are_revoked() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let held = refs(&fill(&mut client, "bob", "phone", 1).await);
    reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    let others = refs(&fill(&mut client, "bob", "phone", 4).await);
    let last_resort = refs(&fill_last_resort(&mut client, "bob", "phone").await);
    fill(&mut client, "bob", "laptop", 1).await;

    let kept = others[..2].to_vec();
    let response = reconcile(&mut client, kept.clone()).await;
    let lost = [held, others[2..].to_vec(), last_resort].concat();
    assert_eq!(response.revoked_key_package_refs, sorted(lost));
    assert_eq!(states(&response), []);
    let status = &response.pool_status.as_ref().unwrap().pools[0];
    assert_eq!((status.available, status.reserved, status.revoked), (2, 0, 3));
    assert!(status.last_resort.is_none());
    assert_balanced(status);
    assert_eq!(pool(&mut client, "bob", "laptop").await.available, 1);

    let again = reconcile(&mut client, kept).await;
    assert!(again.revoked_key_package_refs.is_empty() && states(&again).is_empty(), "{again:?}");
}

#[tokio::test]
async fn a_device_that_lists_all_it_has_loses_nothing() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let one_time = refs(&fill(&mut client, "bob", "phone", 3).await);
    let last_resort = refs(&fill_last_resort(&mut client, "bob", "phone").await);
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap().name.unwrap();
    let response = reconcile(&mut client, [one_time, last_resort].concat()).await;
    assert!(response.revoked_key_package_refs.is_empty(), "{response:?}");
    assert_eq!(states(&response), [(held.key_package_ref, Reserved)]);
    let status = &response.pool_status.unwrap().pools[0];
    assert_eq!((status.available, status.reserved, status.revoked), (2, 1, 0));
}

#[tokio::test]
async fn a_device_that_lists_nothing_has_lost_everything() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let one_time = refs(&fill(&mut client, "bob", "phone", 3).await);
    let last_resort = refs(&fill_last_resort(&mut client, "bob", "phone").await);
    let response = reconcile(&mut client, vec![]).await;
    assert_eq!(response.revoked_key_package_refs, sorted([one_time, last_resort].concat()));
}

#[tokio::test]
async fn the_device_learns_which_of_its_packages_can_not_be_handed_out() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let short = ending_in("bob", "phone", HOUR);
    let expired = refs(&upload(&mut client, "bob", "phone", short.make_many(1)).await);
    server.clock().advance(2 * HOUR);
    let superseded = refs(&fill_last_resort(&mut client, "bob", "phone").await);
    let last_resort = refs(&fill_last_resort(&mut client, "bob", "phone").await);
    let one_time = refs(&fill(&mut client, "bob", "phone", 5).await);
    let spent = use_one(&mut client, "spent").await;
    let unusable = find_unusable(&mut client, "unusable", UnusableReason::Other).await;
    let held = reserve_one(&mut client, "held", "bob", "phone").await.unwrap();
    let held = held.name.unwrap().key_package_ref;
    let used = [&spent, &unusable, &held];
    let revoked = one_time.iter().find(|one| !used.contains(one)).unwrap().clone();
    let selector = Selector::Refs(KeyPackageRefs { key_package_refs: vec![revoked.clone()] });
    client.revoke_key_packages(revoke_request("bob", "phone", selector)).await.unwrap();
    let laptops = refs(&fill(&mut client, "bob", "laptop", 1).await);
    let never_uploaded = vec![7; 48];

    let mut listed = [expired.clone(), superseded.clone(), last_resort, one_time].concat();
    listed.extend([laptops[0].clone(), never_uploaded.clone()]);
    let response = reconcile(&mut client, listed).await;
    assert!(response.revoked_key_package_refs.is_empty());
    assert_eq!(
        states(&response),
        sorted(vec![
            (expired[0].clone(), Expired),
            (superseded[0].clone(), Superseded),
            (spent, Spent),
            (held, Reserved),
            (unusable, Revoked),
            (revoked, Revoked),
            (laptops[0].clone(), Unknown),
            (never_uploaded, Unknown),
        ])
    );
}

#[tokio::test]
async fn a_package_is_reserved_for_as_long_as_its_hold() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let refs = refs(&fill(&mut client, "bob", "phone", 2).await);
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap().name.unwrap();
    let response = reconcile(&mut client, refs.clone()).await;
    assert_eq!(states(&response), [(held.key_package_ref.clone(), Reserved)]);
    let status = &response.pool_status.unwrap().pools[0];
    assert_eq!((status.available, status.reserved), (1, 1));

    server.clock().advance(HOUR);
    let response = reconcile(&mut client, refs.clone()).await;
    assert_eq!(states(&response), [], "the hold lapsed");

    let again = reserve_one(&mut client, "s", "bob", "phone").await.unwrap().name.unwrap();
    spend(&mut client, "s", vec![again.clone()]).await.unwrap();
    let response = reconcile(&mut client, refs).await;
    assert_eq!(states(&response), [(again.key_package_ref, Spent)]);
}

#[tokio::test]
async fn a_lost_package_that_an_invite_holds_is_spent_all_the_same() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap().name.unwrap();
    reconcile(&mut client, vec![]).await;
    spend(&mut client, "r", vec![held.clone()]).await.unwrap();
    let response = reconcile(&mut client, vec![held.key_package_ref.clone()]).await;
    assert_eq!(states(&response), [(held.key_package_ref, Spent)]);
    assert_balanced(&response.pool_status.unwrap().pools[0]);
}

#[tokio::test]
async fn unknown_users_and_devices_are_told_apart() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let carol = calls::reconcile(&mut client, "carol", "phone", vec![]).await.unwrap_err();
    assert_unknown(&carol, ErrorReason::UnknownUser, "carol", None);
    let laptop = calls::reconcile(&mut client, "bob", "laptop", vec![]).await.unwrap_err();
    assert_unknown(&laptop, ErrorReason::UnknownDevice, "bob", Some("laptop"));
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 1);
}

/// Another process of the device uploads while this one makes its list, or while the call is on its way.
#[tokio::test]
async fn what_was_uploaded_after_the_list_was_made_is_left_alone() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let lost = refs(&fill(&mut client, "bob", "phone", 2).await);
    let asked = GetPoolStatusRequest { user_id: "bob".into(), device_id: "phone".into() };
    let listed_at = client.get_pool_status(asked).await.unwrap().into_inner().read_time;
    assert!(listed_at.is_some());
    fill(&mut client, "bob", "phone", 5).await;
    fill_last_resort(&mut client, "bob", "phone").await;

    let request = ReconcilePoolRequest {
        user_id: "bob".into(),
        device_id: "phone".into(),
        key_package_refs: vec![],
        as_of: listed_at,
    };
    let response = client.reconcile_pool(request).await.unwrap().into_inner();
    assert_eq!(response.revoked_key_package_refs, sorted(lost));
    let status = &response.pool_status.unwrap().pools[0];
    assert_eq!((status.available, status.revoked), (5, 2));
    assert!(status.last_resort.is_some());
    assert_balanced(status);
}
