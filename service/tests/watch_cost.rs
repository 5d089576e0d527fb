//! What watches cost the database.

#![allow(unreachable_pub, clippy::unwrap_used)]

mod support;

use keypool_proto::v1::WatchPoolRequest;
use keypool_service::testing::server::TestServer;
use std::time::Instant;
use support::{
    calls::{named, reserve_one},
    *,
};
use tokio::time::{Duration, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

/// How often watched devices were read so far.
async fn readings(server: &TestServer) -> u64 {
    let answer = http::get(server.server().admin_address(), "/metrics").await;
    let count = "keypool_statement_duration_seconds_count{statement=\"watch\"} ";
    let line = answer.text().lines().find_map(|line| line.strip_prefix(count));
    line.map_or(0, |count| count.parse().unwrap())
}

// One test: the metrics are the process's.
#[tokio::test]
async fn a_device_that_changes_all_the_time_is_read_twice_a_second_at_most() {
    let server = TestServer::start_with(|config| {
        config.limits.rates = keypool_service::limits::Rates::UNLIMITED;
        config.pool.cap = 1000;
    })
    .await;
    let mut client = client(&server).await;
    for _ in 0..5 {
        fill(&mut client, "bob", "phone", 60).await;
    }
    let mut watches = Vec::new();
    for user in ["bob", "carol", "dave", "erin"] {
        let request = WatchPoolRequest { user_id: user.into(), device_id: "phone".into() };
        watches.push(client.watch_pool(request).await.unwrap().into_inner());
    }
    let (before, began) = (readings(&server).await, Instant::now());
    for n in 0..300 {
        let held = reserve_one(&mut client, &n.to_string(), "bob", "phone").await.unwrap();
        spend(&mut client, &n.to_string(), named(&held)).await.unwrap();
    }
    let last = async {
        while watches[0].message().await.unwrap().unwrap().pool_status.unwrap().pools[0].spent < 300
        {
        }
    };
    timeout(PATIENCE, last).await.expect("the last change is told");
    // 600 changes, told twice a second at most. One reading of each kind may have been due when it began.
    let (readings, seconds) = (readings(&server).await - before, began.elapsed().as_secs());
    assert!(readings <= 2 * (seconds + 2), "{readings} readings in {seconds} seconds");
}
