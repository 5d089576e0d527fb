//! Many clients that repeat their calls word for word until they hear an answer, while things break.

use crate::support::{Client, assert_balanced, calls::*, fill, pool, process::Keypool, spend};
use keypool_proto::v1::{ReservedKeyPackage, SpendLogEntry, SpendLogFilter};
use keypool_service::testing::database::{TestCluster, TestDatabase};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;
use tonic::Code;

const WORKERS: usize = 8;
const INVITES: usize = 24;
const USERS: usize = 4;

/// Reserves and spends a package, again from the start as long as the database is away.
async fn invite(client: &mut Client, reservation: &str, user: &str) -> ReservedKeyPackage {
    let mut acknowledged = None;
    loop {
        let error = match reserve_one(client, reservation, user, "phone").await {
            Ok(package) => {
                let first = acknowledged.get_or_insert_with(|| package.name.clone());
                assert_eq!(*first, package.name, "an acknowledged hold was lost");
                match spend(client, reservation, named(&package)).await {
                    Ok(()) => return package,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        assert_eq!(error.code(), Code::Unavailable, "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes all invites of one worker, and returns what it spent, by reservation.
async fn invite_all(
    mut client: Client,
    worker: usize,
    spent: Arc<AtomicUsize>,
) -> Vec<(String, ReservedKeyPackage)> {
    let user = format!("user{}", worker % USERS);
    let mut invites = Vec::new();
    for number in 0..INVITES {
        let reservation = format!("{worker}-{number}");
        let package = invite(&mut client, &reservation, &user).await;
        spent.fetch_add(1, Ordering::Relaxed);
        invites.push((reservation, package));
    }
    invites
}

async fn fill_all(client: &mut Client) {
    for user in 0..USERS {
        fill(client, &format!("user{user}"), "phone", WORKERS / USERS * INVITES).await;
    }
}

/// Starts the workers, over the clients in turn.
fn start(
    clients: &[Client],
    spent: &Arc<AtomicUsize>,
) -> JoinSet<Vec<(String, ReservedKeyPackage)>> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let client = clients[worker % clients.len()].clone();
        workers.spawn(invite_all(client, worker, spent.clone()));
    }
    workers
}

/// Checks that each package went to one reservation, and that each acknowledged spend is in the spend log.
async fn assert_once(invites: &[(String, ReservedKeyPackage)], keypool: &Keypool) {
    assert_eq!(invites.len(), WORKERS * INVITES);
    let different: HashSet<_> = invites.iter().map(|(_, package)| reference(package)).collect();
    assert_eq!(different.len(), invites.len(), "a package was handed to two reservations");

    let log = spend_log(keypool.endpoint(), SpendLogFilter::default()).await;
    let logged: HashMap<_, &SpendLogEntry> =
        log.iter().map(|entry| (&entry.key_package_ref, entry)).collect();
    assert_eq!((log.len(), logged.len()), (invites.len(), invites.len()));
    for (reservation, package) in invites {
        let entry = logged[&reference(package)];
        assert_eq!(&entry.reservation_id, reservation);
        assert!(entry.spend_time.is_some());
    }
    let mut client = keypool.client().await;
    for user in 0..USERS {
        assert_balanced(&pool(&mut client, &format!("user{user}"), "phone").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_on_one_database_hand_each_package_out_once() {
    let database = TestDatabase::create().await;
    let url = database.url();
    let flags = ["--database-url", &url];
    let services = [Keypool::start(&flags).await, Keypool::start(&flags).await];
    let clients = [services[0].client().await, services[1].client().await];
    fill_all(&mut clients[0].clone()).await;
    let invites = start(&clients, &Arc::default()).join_all().await.concat();
    assert_once(&invites, &services[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_database_under_load_loses_nothing_and_repeats_nothing() {
    let cluster = TestCluster::durable().await;
    let database = TestDatabase::create_in(&cluster).await;
    let url = database.url();
    let keypool = Keypool::start(&["--database-url", &url]).await;
    let mut client = keypool.client().await;
    fill_all(&mut client).await;

    let spent = Arc::new(AtomicUsize::new(0));
    let workers = start(&[client], &spent);
    for enough in [20, 90] {
        let spends = spent.clone();
        eventually("some are spent", async || spends.load(Ordering::Relaxed) >= enough).await;
        cluster.kill_9().await;
        cluster.wait_until_ready().await;
    }
    let invites = workers.join_all().await.concat();
    assert_once(&invites, &keypool).await;
}
