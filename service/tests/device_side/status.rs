use super::{
    DAY, HOUR, assert_unknown, find_unusable,
    support::{
        assert_balanced,
        calls::{devices, ending_in, named, refs, release, reserve_one, revoke_request, time},
        client, fill, fill_last_resort, pool, upload,
    },
    use_one,
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    ErrorReason, GetPoolStatusRequest, KeyPackageRefs, PoolHealth, UnusableReason,
    revoke_key_packages_request::Selector,
};
use keypool_service::{
    clock::Clock,
    testing::{packages::PackageMaker, server::TestServer},
    types::CipherSuite,
};

#[tokio::test]
async fn every_device_of_a_user_is_listed_by_its_id() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    for device in ["phone", "Laptop", "büro"] {
        fill(&mut client, "bob", device, 1).await;
    }
    fill(&mut client, "carol", "phone", 1).await;
    let found = devices(&mut client, "bob").await;
    let ids: Vec<_> = found.iter().map(|device| device.device_id.as_str()).collect();
    assert_eq!(ids, ["Laptop", "büro", "phone"]);
    assert!(found.iter().all(|device| device.user_id == "bob" && device.pools.len() == 1));
}

#[tokio::test]
async fn one_device_is_reported_alone() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    fill(&mut client, "bob", "laptop", 2).await;
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 1);
    assert_eq!(pool(&mut client, "bob", "laptop").await.available, 2);
}

#[tokio::test]
async fn unknown_users_and_devices_are_told_apart() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let mut ask = async |user: &str, device: &str| {
        let request = GetPoolStatusRequest { user_id: user.into(), device_id: device.into() };
        client.get_pool_status(request).await.unwrap_err()
    };
    assert_unknown(&ask("carol", "").await, ErrorReason::UnknownUser, "carol", None);
    assert_unknown(&ask("carol", "phone").await, ErrorReason::UnknownUser, "carol", None);
    let no_laptop = ask("bob", "laptop").await;
    assert_unknown(&no_laptop, ErrorReason::UnknownDevice, "bob", Some("laptop"));
}

#[tokio::test]
async fn every_count_is_told_and_the_books_balance() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let of_an_hour = ending_in("bob", "phone", HOUR);
    let of_a_day = ending_in("bob", "phone", DAY);
    upload(&mut client, "bob", "phone", of_an_hour.make_many(3)).await;
    upload(&mut client, "bob", "phone", of_a_day.make_many(4)).await;
    let lasting = refs(&fill(&mut client, "bob", "phone", 5).await);
    server.clock().advance(2 * HOUR);
    use_one(&mut client, "spent").await;
    reserve_one(&mut client, "held", "bob", "phone").await.unwrap();
    let last = KeyPackageRefs { key_package_refs: lasting[..1].to_vec() };
    let revoke = revoke_request("bob", "phone", Selector::Refs(last));
    client.revoke_key_packages(revoke).await.unwrap();

    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!(pool.cipher_suite, 1);
    assert_eq!((pool.accepted, pool.purged), (12, 0));
    assert_eq!((pool.expired, pool.spent, pool.reserved, pool.revoked), (3, 1, 1, 1));
    assert_eq!((pool.available, pool.expiring_soon), (6, 2), "those of a day went first");
    assert_balanced(&pool);
}

#[tokio::test]
async fn a_package_expires_soon_from_48_hours_before_its_end() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let maker = ending_in("bob", "phone", 2 * DAY + HOUR);
    upload(&mut client, "bob", "phone", maker.make_many(2)).await;
    assert_eq!(pool(&mut client, "bob", "phone").await.expiring_soon, 0);
    server.clock().advance(HOUR);
    assert_eq!(pool(&mut client, "bob", "phone").await.expiring_soon, 2);
    server.clock().advance(2 * DAY);
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.expiring_soon, pool.available, pool.expired), (0, 0, 2));
}

#[tokio::test]
async fn a_lapsed_hold_is_available_again_with_nobody_doing_anything() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    let held = pool(&mut client, "bob", "phone").await;
    assert_eq!((held.available, held.reserved), (0, 1));
    server.clock().advance(SignedDuration::from_secs(60));
    let lapsed = pool(&mut client, "bob", "phone").await;
    assert_eq!((lapsed.available, lapsed.reserved), (1, 0));
}

#[tokio::test]
async fn cipher_suites_are_counted_apart_and_the_worst_grades_the_device() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 8).await;
    let of_suite_2 = PackageMaker::new("bob", "phone").cipher_suite(CipherSuite(2));
    upload(&mut client, "bob", "phone", of_suite_2.make_many(2)).await;
    let device = devices(&mut client, "bob").await.remove(0);
    let pools: Vec<_> = device
        .pools
        .iter()
        .map(|pool| (pool.cipher_suite, pool.available, pool.health()))
        .collect();
    assert_eq!(pools, [(1, 8, PoolHealth::Healthy), (2, 2, PoolHealth::Low)]);
    assert_eq!(device.health(), PoolHealth::Low);
}

#[tokio::test]
async fn the_use_of_the_last_resort_is_counted_without_what_was_given_back() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let uploaded_at = server.clock().now().as_second();
    let maker = ending_in("bob", "phone", DAY).last_resort();
    let uploaded = upload(&mut client, "bob", "phone", vec![maker.make()]).await;
    for reservation in ["r1", "r2", "r3"] {
        reserve_one(&mut client, reservation, "bob", "phone").await.unwrap();
    }
    let again = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    release(&mut client, "r1", named(&again)).await.unwrap();
    use_one(&mut client, "r2").await;

    let status = pool(&mut client, "bob", "phone").await.last_resort.unwrap();
    assert_eq!(status.key_package_ref, refs(&uploaded)[0]);
    assert_eq!(status.use_count, 2);
    let upload_time = time(&status.upload_time.unwrap()).as_second();
    assert!((uploaded_at..uploaded_at + 60).contains(&upload_time));
    let lifetime = time(&status.not_after_time.unwrap()).as_second() - uploaded_at;
    assert!((lifetime - DAY.as_secs()).abs() <= 60, "{lifetime}");
}

#[tokio::test]
async fn an_expired_last_resort_is_as_good_as_none() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let maker = ending_in("bob", "phone", HOUR).last_resort();
    upload(&mut client, "bob", "phone", vec![maker.make()]).await;
    server.clock().advance(HOUR);
    assert!(pool(&mut client, "bob", "phone").await.last_resort.is_none());
}

#[tokio::test]
async fn packages_given_back_as_unusable_are_listed_newest_first() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 11).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let mut reported = Vec::new();
    for n in 0..11 {
        let reservation = n.to_string();
        let reason = UnusableReason::Other;
        reported.insert(0, (find_unusable(&mut client, &reservation, reason).await, reason));
        server.clock().advance(SignedDuration::from_secs(1));
    }
    let reason = UnusableReason::WrongIdentity;
    let at = server.clock().now();
    reported.insert(0, (find_unusable(&mut client, "last resort", reason).await, reason));

    let device = devices(&mut client, "bob").await.remove(0);
    let listed: Vec<_> = device
        .unusable_key_packages
        .iter()
        .map(|unusable| (unusable.key_package_ref.clone(), unusable.reason()))
        .collect();
    assert_eq!(listed, reported[..10]);
    let report_time = time(&device.unusable_key_packages[0].report_time.unwrap());
    assert!(report_time >= at - SignedDuration::from_secs(1) && report_time < at + HOUR);
    let pool = &device.pools[0];
    assert_eq!((pool.available, pool.revoked), (0, 11));
    // Everybody shares it: what one inviter says does not take it away.
    assert!(pool.last_resort.is_some());
    assert_balanced(pool);
}
