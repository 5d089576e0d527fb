//! Promise 3, across replicas: a call that is repeated on another replica while its first try is still being executed.

use crate::support::{
    Client,
    calls::*,
    client, fill, fill_last_resort,
    locks::{connect, hang_commits},
    pool, reserve_request, spend,
};
use keypool_service::{
    config::DatabaseUrl,
    testing::{
        database::{TestCluster, TestDatabase},
        server::TestServer,
    },
};
use std::{collections::HashSet, time::Duration};
use tokio::task::JoinSet;
use tonic::Request;

/// Three replicas on one database, with a client each.
async fn three_replicas() -> (Vec<TestServer>, Vec<Client>) {
    let first = TestServer::start().await;
    let servers = vec![first.replica().await, first.replica().await, first];
    let mut clients = Vec::new();
    for server in &servers {
        clients.push(client(server).await);
    }
    (servers, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserve_on_all_replicas_at_once_gets_the_only_package_everywhere() {
    let (_servers, mut clients) = three_replicas().await;
    for round in 0..30 {
        let user = format!("user{round}");
        fill(&mut clients[0], &user, "phone", 1).await;
        // It is there for other reservations.
        fill_last_resort(&mut clients[0], &user, "phone").await;
        let mut calls = JoinSet::new();
        for client in clients.clone() {
            let (mut client, user) = (client, user.clone());
            calls.spawn(async move { reserve_one(&mut client, "r", &user, "phone").await });
        }
        let answers = calls.join_all().await.into_iter().map(Result::unwrap);
        let packages: HashSet<_> = answers.map(|got| (reference(&got), got.last_resort)).collect();
        assert_eq!(packages.len(), 1, "round {round}: {packages:?}");
        assert!(packages.iter().all(|(_, last_resort)| !last_resort), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserve_repeated_elsewhere_while_its_commit_hangs_gets_its_package() {
    let cluster = TestCluster::durable().await;
    let database = TestDatabase::create_in(&cluster).await;
    let url = database.url();
    let first =
        TestServer::start_with(|config| config.database_url = Some(DatabaseUrl::new(url))).await;
    let url = database.url();
    let second =
        TestServer::start_with(|config| config.database_url = Some(DatabaseUrl::new(url))).await;
    let mut clients = [client(&first).await, client(&second).await];
    for last_resort in [false, true] {
        let device = format!("device-{last_resort}");
        fill(&mut clients[0], "bob", &device, 1).await;
        if last_resort {
            fill_last_resort(&mut clients[0], "bob", &device).await;
        }
        let id = format!("r-{last_resort}");
        hang_commits(&database, true).await;
        let target = crate::support::device("bob", &device);
        let mut hasty = Request::new(reserve_request(&id, vec![target]));
        hasty.set_timeout(Duration::from_millis(500));
        clients[0].reserve_key_packages(hasty).await.unwrap_err();

        let lanes = connect(&database.config()).await;
        let now = "SELECT clock_timestamp()::text";
        let before: String = lanes.query_one(now, &[]).await.unwrap().get(0);
        let repeat = {
            let (mut client, id, device) = (clients[1].clone(), id.clone(), device.clone());
            tokio::spawn(async move { reserve_one(&mut client, &id, "bob", &device).await })
        };
        eventually("the repeat was tried", async || {
            let tried = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                         AND state = 'idle' AND query LIKE '/* keypool: take */%' \
                         AND query_start > $1::text::timestamptz";
            lanes.query_one(tried, &[&before]).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;
        hang_commits(&database, false).await;
        let got = repeat.await.unwrap().unwrap();
        assert!(!got.last_resort, "the one-time package is the reservation's");
        spend(&mut clients[0], &id, named(&got)).await.unwrap();
        assert_eq!(pool(&mut clients[0], "bob", &device).await.spent, 1);
    }
}
