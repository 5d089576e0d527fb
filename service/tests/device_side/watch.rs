use super::{
    support::{
        Client,
        calls::{eventually, named, release, reserve_one},
        client, fill, fill_last_resort, reason, spend,
    },
    use_one,
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    DevicePoolStatus, ErrorReason, PoolHealth, WatchPoolRequest, WatchPoolResponse,
};
use keypool_service::testing::server::TestServer;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

/// How long a watcher waits for what must come, although a couple of seconds should do.
const PATIENCE: Duration = Duration::from_secs(20);

struct Watch(Streaming<WatchPoolResponse>);

impl Watch {
    async fn try_open(client: &mut Client, user: &str, device: &str) -> Result<Self, Status> {
        let request = WatchPoolRequest { user_id: user.into(), device_id: device.into() };
        Ok(Self(client.watch_pool(request).await?.into_inner()))
    }

    /// Watches bob's phone, and takes the first message.
    async fn open(client: &mut Client) -> Self {
        let mut watch = Self::try_open(client, "bob", "phone").await.unwrap();
        watch.next().await;
        watch
    }

    async fn message(&mut self) -> Result<DevicePoolStatus, Status> {
        let message = timeout(PATIENCE, self.0.message()).await.expect("a message comes in time");
        Ok(message?.expect("the stream goes on").pool_status.unwrap())
    }

    async fn next(&mut self) -> DevicePoolStatus {
        self.message().await.unwrap()
    }
}

fn spent(status: &DevicePoolStatus) -> u64 {
    status.pools[0].spent
}

#[tokio::test]
async fn the_first_message_comes_at_once() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 9).await;
    let mut watch = Watch::try_open(&mut client, "bob", "phone").await.unwrap();
    let status = watch.next().await;
    assert_eq!((status.user_id.as_str(), status.device_id.as_str()), ("bob", "phone"));
    assert_eq!((status.health(), status.pools[0].available), (PoolHealth::Healthy, 9));
}

#[tokio::test]
async fn a_device_that_never_uploaded_is_watched_from_before_its_first_upload() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let mut watch = Watch::try_open(&mut client, "bob", "phone").await.unwrap();
    let empty = watch.next().await;
    assert_eq!(empty.health(), PoolHealth::Empty);
    assert!(empty.pools.is_empty() && empty.last_upload_time.is_none(), "{empty:?}");
    fill(&mut client, "bob", "phone", 1).await;
    assert_eq!(watch.next().await.health(), PoolHealth::Low);
}

#[tokio::test]
async fn a_spent_package_is_told() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 10).await;
    let mut watch = Watch::open(&mut client).await;
    let started = Instant::now();
    use_one(&mut client, "r").await;
    assert_eq!(spent(&watch.next().await), 1);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_changes_nothing_that_matters_is_not_told() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 10).await;
    let mut watch = Watch::open(&mut client).await;
    let held = reserve_one(&mut client, "given back", "bob", "phone").await.unwrap();
    release(&mut client, "given back", named(&held)).await.unwrap();
    fill(&mut client, "bob", "phone", 1).await;
    fill(&mut client, "bob", "laptop", 1).await;
    use_one(&mut client, "r").await;
    // The first message that comes is that of the spend.
    assert_eq!(spent(&watch.next().await), 1);
}

#[tokio::test]
async fn a_change_of_health_is_told_even_if_only_time_passed() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let mut watch = Watch::open(&mut client).await;
    reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    assert_eq!(watch.next().await.health(), PoolHealth::Empty);
    server.clock().advance(SignedDuration::from_secs(60));
    assert_eq!(watch.next().await.health(), PoolHealth::Low, "the hold lapsed");
    fill(&mut client, "bob", "phone", 7).await;
    assert_eq!(watch.next().await.health(), PoolHealth::Healthy);
    server.clock().advance(SignedDuration::from_hours(15 * 24));
    assert_eq!(watch.next().await.health(), PoolHealth::Empty, "all have expired");
}

#[tokio::test]
async fn each_use_of_the_last_resort_is_told() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let mut watch = Watch::open(&mut client).await;
    for uses in 1..=2 {
        reserve_one(&mut client, &uses.to_string(), "bob", "phone").await.unwrap();
        let status = watch.next().await;
        assert_eq!(status.pools[0].last_resort.as_ref().unwrap().use_count, uses);
    }
}

#[tokio::test]
async fn changes_made_through_another_replica_are_told() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let (mut client, mut other) = (client(&server).await, client(&replica).await);
    fill(&mut client, "bob", "phone", 8).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let mut watch = Watch::open(&mut client).await;
    let started = Instant::now();
    use_one(&mut other, "r").await;
    let status = watch.next().await;
    assert_eq!((spent(&status), status.health()), (1, PoolHealth::Low));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    for n in 0..8 {
        reserve_one(&mut other, &n.to_string(), "bob", "phone").await.unwrap();
    }
    let mut status = watch.next().await;
    if status.pools[0].last_resort.as_ref().unwrap().use_count == 0 {
        status = watch.next().await; // a look between the last one-time package and the last resort
    }
    assert_eq!(status.health(), PoolHealth::Empty);
    assert_eq!(status.pools[0].last_resort.as_ref().unwrap().use_count, 1);
}

#[tokio::test]
async fn changes_in_quick_succession_arrive_as_one() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let (mut client, mut other) = (client(&server).await, client(&replica).await);
    fill(&mut client, "bob", "phone", 50).await;
    let mut watch = Watch::open(&mut client).await;
    let started = Instant::now();
    for n in 0..40 {
        use_one(&mut other, &n.to_string()).await;
    }
    let mut messages = 1;
    while spent(&watch.next().await) < 40 {
        messages += 1;
    }
    // A replica looks once a second at what another one changed.
    let looks = started.elapsed().as_secs() + 2;
    assert!(messages <= looks, "{messages} messages in {looks} looks");
}

#[tokio::test]
async fn every_watcher_of_a_device_is_told() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 10).await;
    let mut watches = [Watch::open(&mut client).await, Watch::open(&mut client).await];
    use_one(&mut client, "r").await;
    for watch in &mut watches {
        assert_eq!(spent(&watch.next().await), 1);
    }
}

#[tokio::test]
async fn a_slow_watcher_misses_nothing_of_the_outcome() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 30).await;
    let mut watch = Watch::try_open(&mut client, "bob", "phone").await.unwrap();
    for n in 0..30 {
        let held = reserve_one(&mut client, &n.to_string(), "bob", "phone").await.unwrap();
        spend(&mut client, &n.to_string(), named(&held)).await.unwrap();
    }
    let mut last = watch.next().await;
    while spent(&last) < 30 {
        last = watch.next().await;
    }
    assert_eq!(last.health(), PoolHealth::Empty);
}

#[tokio::test]
async fn watches_end_with_unavailable_when_the_service_stops() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let mut watch = Watch::open(&mut client).await;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    stopping.await.unwrap();
}

#[tokio::test]
async fn there_are_no_more_watches_than_allowed() {
    let server = TestServer::start_with(|config| config.limits.watches = 2).await;
    let mut client = client(&server).await;
    let first = Watch::open(&mut client).await;
    let _same_device = Watch::open(&mut client).await;
    let refused = Watch::try_open(&mut client, "carol", "phone").await.err().unwrap();
    assert_eq!(reason(&refused), ErrorReason::TooManyWatches);
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["limit"], "replica");
    let retry_after = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(retry_after >= Duration::from_secs(60), "{retry_after:?}");
    drop(first);
    eventually("the ended watch makes room", async || {
        Watch::try_open(&mut client.clone(), "carol", "phone").await.is_ok()
    })
    .await;
}
