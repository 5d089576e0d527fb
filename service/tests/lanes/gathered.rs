use super::{
    begin, busy, number, one_lane, queue, request,
    support::{client, device, fill, locks::connect, reserve, user},
};
use jiff::SignedDuration;
use keypool_service::{
    pool::{PoolError, ReserveReport},
    testing::server::TestServer,
    types::{CipherSuite, GroupId},
};

#[tokio::test]
async fn what_waits_becomes_one_statement() {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    fill(&mut client, "alice", "phone", 1).await;
    fill(&mut client, "bob", "phone", 40).await;
    let (blocked, first, _) = busy(&server).await;
    let mut waiting = Vec::new();
    for n in 0..40 {
        waiting.push(queue(&server, request(&format!("r{n}"), &["bob"])).await);
    }
    blocked.end().await;
    first.await.unwrap().unwrap();
    let mut refs = Vec::new();
    for call in waiting {
        let report = call.await.unwrap().unwrap();
        refs.push(report.reservation.packages[0].package.reference.clone());
    }
    refs.sort();
    refs.dedup();
    assert_eq!(refs.len(), 40, "each call has a package of its own");
    // A batch takes the time once, when it begins.
    let batches = "SELECT count(DISTINCT asked_at) FROM one_time WHERE user_id = 'bob'";
    assert_eq!(number(&server, batches).await, 1);
}

#[tokio::test]
async fn packages_whose_holds_have_lapsed_are_taken_by_one_statement() {
    for is_backend in [true, false] {
        let server = TestServer::start_with(one_lane).await;
        let mut client = client(&server).await;
        fill(&mut client, "alice", "phone", 1).await;
        fill(&mut client, "bob", "phone", 40).await;
        let call = |n: u32| {
            let mut request = request(&format!("r{n}"), &["bob"]);
            request.caller.is_backend = is_backend;
            request
        };
        for n in 0..40 {
            begin(&server, call(n)).await.unwrap().unwrap();
        }
        let database = connect(&server.database().config()).await;
        let lapse = "UPDATE one_time SET held_until = held_until - interval '1 day'";
        database.batch_execute(lapse).await.unwrap();

        let (blocked, first, _) = busy(&server).await;
        let mut waiting = Vec::new();
        for n in 40..80 {
            waiting.push(queue(&server, call(n)).await);
        }
        blocked.end().await;
        first.await.unwrap().unwrap();
        for call in waiting {
            call.await.unwrap().unwrap();
        }
        let statements = "SELECT count(DISTINCT xmin::text) FROM one_time WHERE user_id = 'bob'";
        assert_eq!(number(&server, statements).await, 1, "by a back end: {is_backend}");
        let lapsed = "SELECT count(lapsed_at) FROM spend_log WHERE user_id = 'bob'";
        assert_eq!(number(&server, lapsed).await, 40, "by a back end: {is_backend}");
    }
}

#[tokio::test]
async fn a_reservation_gets_no_package_by_a_neighbour_that_it_held_for_as_long_as_it_may() {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    fill(&mut client, "alice", "phone", 1).await;
    fill(&mut client, "bob", "phone", 2).await;
    let held = begin(&server, request("r0", &["bob"])).await.unwrap().unwrap();
    let database = connect(&server.database().config()).await;
    // It also ends first, so that it would be the first of those that the batch takes.
    let age = "UPDATE one_time SET held_until = held_until - interval '1 day', asked_at = asked_at - interval '1 day', \
                   not_after = not_after - interval '1 day' \
               WHERE reservation_id = 'r0'";
    database.batch_execute(age).await.unwrap();

    let mut other_group = request("r0", &["bob"]);
    other_group.group = GroupId::new("other").unwrap();
    let refused = begin(&server, other_group).await.unwrap();
    assert!(matches!(refused, Err(PoolError::ReservationIdReused(_))), "{refused:?}");

    let (blocked, first, _) = busy(&server).await;
    let again = queue(&server, request("r0", &["bob"])).await;
    let other = queue(&server, request("r1", &["bob"])).await;
    blocked.end().await;
    first.await.unwrap().unwrap();
    let reference =
        |report: &ReserveReport| report.reservation.packages[0].package.reference.clone();
    let again = again.await.unwrap().unwrap();
    assert_ne!(reference(&again), reference(&held));
    assert_eq!(reference(&other.await.unwrap().unwrap()), reference(&held));
}

#[tokio::test]
async fn calls_of_a_batch_keep_their_own_conditions() {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    fill(&mut client, "alice", "phone", 1).await;
    fill(&mut client, "bob", "phone", 3).await;
    let (blocked, first, _) = busy(&server).await;
    let mut other_suite = request("suite", &["bob"]);
    other_suite.cipher_suites = vec![CipherSuite(2)];
    let mut long_life = request("life", &["bob"]);
    long_life.min_remaining = Some(SignedDuration::from_hours(24 * 80));
    let mut short_hold = request("hold", &["bob"]);
    short_hold.hold = Some(SignedDuration::from_secs(1));
    let calls = [
        queue(&server, other_suite).await,
        queue(&server, long_life).await,
        queue(&server, short_hold).await,
        queue(&server, request("any", &["bob"])).await,
    ];
    blocked.end().await;
    first.await.unwrap().unwrap();
    let [other_suite, long_life, short_hold, any] = calls;
    other_suite.await.unwrap().unwrap_err();
    long_life.await.unwrap().unwrap_err();
    let short = short_hold.await.unwrap().unwrap().reservation.expires_at().unwrap();
    let usual = any.await.unwrap().unwrap().reservation.expires_at().unwrap();
    assert_eq!(usual.duration_since(short), SignedDuration::from_secs(59));
}

#[tokio::test]
async fn a_repeat_in_the_same_batch_gets_the_same_package() {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    fill(&mut client, "alice", "phone", 1).await;
    fill(&mut client, "bob", "phone", 3).await;
    let (blocked, first, _) = busy(&server).await;
    let one = queue(&server, request("r", &["bob"])).await;
    let other = queue(&server, request("r", &["bob"])).await;
    blocked.end().await;
    first.await.unwrap().unwrap();
    let refs = [one, other].map(async |call| {
        let report = call.await.unwrap().unwrap();
        report.reservation.packages[0].package.reference.clone()
    });
    let [one, other] = refs;
    assert_eq!(one.await, other.await);
}

#[tokio::test]
async fn a_call_for_users_of_several_lanes_is_one_reservation() {
    let server = TestServer::start_with(|config| config.lanes.reserve = 7).await;
    let mut client = client(&server).await;
    let names: Vec<String> = (0..20).map(|n| format!("user-{n}")).collect();
    for name in &names {
        fill(&mut client, name, "phone", 1).await;
        fill(&mut client, name, "tablet", 1).await;
    }
    let targets = names.iter().map(|name| user(name)).collect();
    let all = reserve(&mut client, "r", targets).await.unwrap();
    let packages = all.reservation.unwrap().packages;
    assert_eq!(packages.len(), 40);
    let order = |package: &keypool_proto::v1::ReservedKeyPackage| {
        let name = package.name.clone().unwrap();
        (name.user_id, name.device_id)
    };
    assert!(packages.is_sorted_by_key(order), "ordered by user and device");

    // All or nothing: one without a package costs every lane what it has reserved.
    let mut targets: Vec<_> = names.iter().map(|name| user(name)).collect();
    targets.push(device("nobody", "phone"));
    let mut all_or_nothing = super::support::reserve_request("other", targets);
    all_or_nothing.require_all = true;
    client.reserve_key_packages(all_or_nothing).await.unwrap_err();
    let held = "SELECT count(*) FROM one_time WHERE reservation_id = 'other'";
    assert_eq!(number(&server, held).await, 0);
}
