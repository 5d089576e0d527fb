//! Start and stop of the command.

use crate::support::{calls::*, fill, process::DataDir, process::Keypool, spend};
use keypool_proto::v1::WatchPoolRequest;
use keypool_service::testing::database::TestDatabase;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(5);

/// Stops a service, and checks that it ends well and soon.
async fn stop(keypool: Keypool, signal: Signal) {
    let asked = Instant::now();
    keypool.signal(signal);
    let status = keypool.ended().await;
    assert!(status.success(), "{status}");
    assert!(asked.elapsed() < LIMIT, "took {:?}", asked.elapsed());
}

#[tokio::test]
async fn sigterm_ends_it_well_although_somebody_watches() {
    let database = TestDatabase::create().await;
    let keypool = Keypool::start(&["--database-url", &database.url()]).await;
    let request = WatchPoolRequest { user_id: "bob".into(), device_id: "phone".into() };
    let mut watch = keypool.client().await.watch_pool(request).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    stop(keypool, Signal::TERM).await;
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn sigint_ends_it_well() {
    let database = TestDatabase::create().await;
    let keypool = Keypool::start(&["--database-url", &database.url()]).await;
    let mut client = keypool.client().await;
    fill(&mut client, "bob", "phone", 1).await;
    stop(keypool, Signal::INT).await;
}

#[tokio::test]
async fn its_private_database_ends_with_it_and_keeps_what_it_has() {
    let folder = DataDir::new();
    let path = folder.path();
    let flags = ["--data-dir", path.to_str().unwrap()];
    let keypool = Keypool::start(&flags).await;
    let mut client = keypool.client().await;
    fill(&mut client, "bob", "phone", 2).await;
    let held = reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    stop(keypool, Signal::TERM).await;
    assert!(!folder.has_postgres());

    let keypool = Keypool::start(&flags).await;
    let mut client = keypool.client().await;
    assert_eq!(reserve_one(&mut client, "r1", "bob", "phone").await.unwrap(), held);
    spend(&mut client, "r1", named(&held)).await.unwrap();
    stop(keypool, Signal::INT).await;
}
