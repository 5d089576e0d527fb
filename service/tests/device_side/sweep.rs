//! Old rows are purged, and the books balance with what was forgotten.

use super::{
    DAY, HOUR,
    support::{
        assert_balanced,
        calls::{ending_in, eventually, named, reserve_one, revoke_all, spend_log},
        client, fill,
        locks::connect,
        pool, spend, upload,
    },
    use_one,
};
use jiff::SignedDuration;
use keypool_proto::v1::SpendLogFilter;
use keypool_service::{
    store::Purged,
    testing::{packages::PackageMaker, server::TestServer},
    types::CipherSuite,
};

async fn sweep(server: &TestServer) -> (u64, u64) {
    let Purged { key_packages, spend_log_entries, .. } =
        server.server().pool().sweep().await.unwrap();
    (key_packages, spend_log_entries)
}

#[tokio::test]
async fn nothing_that_may_be_needed_is_purged() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let short = ending_in("bob", "phone", HOUR);
    upload(&mut client, "bob", "phone", short.make_many(2)).await;
    use_one(&mut client, "r").await;
    server.clock().advance(DAY);
    assert_eq!(sweep(&server).await, (0, 0), "an expired package is kept for a day");
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.expired, pool.spent, pool.purged), (1, 1, 0));
}

#[tokio::test]
async fn nothing_is_purged_by_a_clock_that_is_ahead() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    upload(&mut client, "bob", "phone", ending_in("bob", "phone", HOUR).make_many(2)).await;
    let pool = server.server().pool();
    assert_eq!(pool.sweep_if_clocks_agree().await.unwrap(), Some(Purged::default()));
    server.clock().advance(DAY + 2 * HOUR);
    assert_eq!(pool.sweep_if_clocks_agree().await.unwrap(), None);
    assert_eq!(sweep(&server).await, (2, 0), "there is something to purge");
}

#[tokio::test]
async fn expired_and_revoked_packages_are_purged_a_day_after_their_end() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let short = ending_in("bob", "phone", HOUR);
    let short_last_resort = ending_in("bob", "phone", HOUR).last_resort();
    upload(&mut client, "bob", "phone", short.make_many(3)).await;
    revoke_all(&mut client, "bob", "phone").await;
    upload(&mut client, "bob", "phone", short.make_many(2)).await;
    upload(&mut client, "bob", "phone", vec![short_last_resort.make()]).await;
    fill(&mut client, "bob", "phone", 1).await;
    server.clock().advance(DAY + 2 * HOUR);
    assert_eq!(sweep(&server).await, (6, 0));
    assert_eq!(sweep(&server).await, (0, 0));
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.accepted, pool.available, pool.purged), (6, 1, 5));
    assert_eq!((pool.expired, pool.revoked), (0, 0));
    assert_balanced(&pool);
}

#[tokio::test]
async fn spent_packages_are_counted_until_the_spend_log_forgets_them() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let short = ending_in("bob", "phone", HOUR);
    upload(&mut client, "bob", "phone", short.make_many(2)).await;
    let held = reserve_one(&mut client, "late", "bob", "phone").await.unwrap();
    use_one(&mut client, "early").await;
    server.clock().advance(SignedDuration::from_mins(30));
    spend(&mut client, "late", named(&held)).await.unwrap();

    server.clock().advance(2 * DAY);
    assert_eq!(sweep(&server).await, (2, 0), "their bytes and init keys are of no use any more");
    let spent = pool(&mut client, "bob", "phone").await;
    assert_eq!((spent.spent, spent.purged), (2, 0));

    server.clock().advance(88 * DAY - SignedDuration::from_mins(10));
    assert_eq!(sweep(&server).await, (0, 1), "the early one is older than 90 days");
    let log = spend_log(&server.endpoint(), SpendLogFilter::default()).await;
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].reservation_id, "late");
    let forgotten = pool(&mut client, "bob", "phone").await;
    assert_eq!((forgotten.spent, forgotten.purged), (1, 1));
    assert_balanced(&forgotten);
}

#[tokio::test]
async fn entries_of_last_resort_packages_are_purged_without_being_booked() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let maker = PackageMaker::new("bob", "phone").last_resort();
    upload(&mut client, "bob", "phone", vec![maker.make()]).await;
    reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    server.clock().advance(91 * DAY);
    assert_eq!(sweep(&server).await, (1, 1));
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.accepted, pool.purged), (0, 0));
}

#[tokio::test]
async fn a_sweep_purges_a_small_batch_of_each_bucket() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    for suite in [1, 3] {
        let maker = ending_in("bob", "phone", HOUR).cipher_suite(CipherSuite(suite));
        upload(&mut client, "bob", "phone", maker.make_many(60)).await;
    }
    server.clock().advance(2 * DAY);
    assert_eq!(sweep(&server).await, (100, 0));
    assert_eq!(sweep(&server).await, (20, 0));
}

#[tokio::test]
async fn replicas_that_sweep_at_once_count_nothing_twice() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let mut client = client(&server).await;
    let maker = ending_in("bob", "phone", HOUR);
    upload(&mut client, "bob", "phone", maker.make_many(60)).await;
    server.clock().advance(2 * DAY);
    let ((one, _), (other, _)) = tokio::join!(sweep(&server), sweep(&replica));
    assert_eq!(one + other, 60);
    let pool = pool(&mut client, "bob", "phone").await;
    assert_eq!((pool.accepted, pool.purged, pool.expired), (60, 60, 0));
}

#[tokio::test]
async fn the_service_sweeps_by_itself() {
    let server = TestServer::start_with(|config| {
        config.sweep_interval = SignedDuration::from_millis(50);
    })
    .await;
    let mut client = client(&server).await;
    upload(&mut client, "bob", "phone", ending_in("bob", "phone", HOUR).make_many(3)).await;
    // Its clock is not moved: then it would not sweep.
    let owner = connect(&server.database().config()).await;
    let age = "UPDATE key_package SET not_after = not_after - interval '3 days'";
    owner.batch_execute(age).await.unwrap();
    eventually("the sweeper purges", async || {
        pool(&mut client.clone(), "bob", "phone").await.purged == 3
    })
    .await;
}
