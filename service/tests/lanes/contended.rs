//! Rows that somebody else has locked delay the calls that need them, and no others.

use super::{
    one_lane,
    support::{
        Client,
        calls::{eventually, extend, release, reserve_one, revoke_all},
        client, device, fill, fill_last_resort,
        locks::{connect, lock},
        names, package_details, pool, reason, reserve, reserve_details, reserve_request, spend,
        upload_request, user,
    },
};
use keypool_proto::v1::{ErrorReason, KeyPackageName, ReserveKeyPackagesRequest};
use keypool_service::{
    config::DatabaseUrl,
    testing::{database::TestDatabase, packages::PackageMaker, server::TestServer},
};
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A call that needs a row which somebody has locked.
type Stuck = JoinHandle<Result<(), Status>>;

/// What a call needs, and the call.
struct Kind {
    locked: &'static str,
    /// Begins the call, with the name of what the reservation `held` has of the device `of`.
    of: &'static str,
    call: fn(Client, Vec<KeyPackageName>) -> Stuck,
}

const FREE: &str = "SELECT FROM one_time WHERE device_id = 'free'";
const HELD: &str = "SELECT FROM one_time WHERE device_id = 'held'";
const REVOKED: &str = "SELECT FROM revoked";
const LAST: &str = "SELECT FROM spend_log";
const POOL: &str = "SELECT FROM pool WHERE device_id = 'free'";
const LAST_RESORT: &str = "SELECT FROM last_resort";
const DEVICE: &str = "SELECT FROM device WHERE device_id = 'free'";

fn spending(mut client: Client, names: Vec<KeyPackageName>) -> Stuck {
    tokio::spawn(async move { spend(&mut client, "held", names).await })
}

fn extending(mut client: Client, names: Vec<KeyPackageName>) -> Stuck {
    tokio::spawn(async move { extend(&mut client, "held", names).await.map(drop) })
}

fn releasing(mut client: Client, names: Vec<KeyPackageName>) -> Stuck {
    tokio::spawn(async move { release(&mut client, "held", names).await })
}

fn taking(mut client: Client, _: Vec<KeyPackageName>) -> Stuck {
    tokio::spawn(async move { reserve_one(&mut client, "new", "bob", "free").await.map(drop) })
}

fn repeating(mut client: Client, _: Vec<KeyPackageName>) -> Stuck {
    tokio::spawn(async move { reserve_one(&mut client, "held", "bob", "held").await.map(drop) })
}

fn uploading(mut client: Client, _: Vec<KeyPackageName>) -> Stuck {
    let package = PackageMaker::new("bob", "free").make();
    let request = upload_request("bob", "free", vec![package]);
    tokio::spawn(async move { client.upload_key_packages(request).await.map(drop) })
}

fn uploading_last_resort(mut client: Client, _: Vec<KeyPackageName>) -> Stuck {
    let package = PackageMaker::new("bob", "last").last_resort().make();
    let request = upload_request("bob", "last", vec![package]);
    tokio::spawn(async move { client.upload_key_packages(request).await.map(drop) })
}

/// Every call that goes to a lane, with each kind of row that it may find locked.
const KINDS: [Kind; 14] = [
    Kind { locked: FREE, of: "", call: taking },
    Kind { locked: HELD, of: "", call: repeating },
    Kind { locked: HELD, of: "held", call: spending },
    Kind { locked: HELD, of: "held", call: extending },
    Kind { locked: HELD, of: "held", call: releasing },
    Kind { locked: REVOKED, of: "revoked", call: spending },
    Kind { locked: REVOKED, of: "revoked", call: extending },
    Kind { locked: REVOKED, of: "revoked", call: releasing },
    Kind { locked: LAST, of: "last", call: spending },
    Kind { locked: LAST, of: "last", call: extending },
    Kind { locked: LAST, of: "last", call: releasing },
    Kind { locked: DEVICE, of: "", call: uploading },
    Kind { locked: POOL, of: "", call: uploading },
    Kind { locked: LAST_RESORT, of: "", call: uploading_last_resort },
];

/// A server with one lane of each kind, and packages of bob's: free ones, and in a reservation one that is held, one that was
/// revoked meanwhile, and a last resort. Returns what the reservation has.
async fn started() -> (TestServer, Client, Vec<KeyPackageName>) {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    for device in ["free", "held", "revoked"] {
        fill(&mut client, "bob", device, 1).await;
    }
    fill_last_resort(&mut client, "bob", "last").await;
    let devices = ["held", "revoked", "last"].map(|name| device("bob", name)).to_vec();
    let held = reserve(&mut client, "held", devices).await.unwrap();
    revoke_all(&mut client, "bob", "revoked").await;
    fill(&mut client, "alice", "phone", 60).await;
    (server, client, names(&held))
}

/// One call of each lane, about others' rows.
async fn serves_others(client: &mut Client, number: usize) {
    let id = format!("other-{number}");
    let got = reserve(client, &id, vec![user("alice")]).await.unwrap();
    extend(client, &id, names(&got)).await.unwrap();
    spend(client, &id, names(&got)).await.unwrap();
    fill(client, "alice", "phone", 1).await;
}

#[tokio::test]
async fn a_locked_row_delays_the_call_that_needs_it_and_no_others() {
    for (number, Kind { locked, of, call }) in KINDS.into_iter().enumerate() {
        println!("{number}: {locked}");
        let (server, mut client, held) = started().await;
        let lock = lock(&server, locked).await;
        let held = held.into_iter().filter(|name| name.device_id == of).collect();
        let stuck = call(client.clone(), held);
        for number in 0..2 {
            serves_others(&mut client, number).await;
        }
        assert!(!stuck.is_finished(), "it waits: {:?}", stuck.await);
        lock.batch_execute("COMMIT").await.unwrap();
        stuck.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_call_whose_rows_stay_locked_is_told_so() {
    let (server, client, held) = started().await;
    let mut locks = Vec::new();
    for locked in [FREE, HELD, REVOKED, LAST, DEVICE, POOL, LAST_RESORT] {
        locks.push(lock(&server, locked).await);
    }
    let calls = KINDS.map(|Kind { locked, of, call }| {
        let held = held.iter().filter(|name| name.device_id == of).cloned().collect();
        (locked, call(client.clone(), held))
    });
    for (locked, call) in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{locked}: {error:?}");
        assert_eq!(reason(&error), ErrorReason::Contended, "{locked}");
        assert!(error.get_error_details().retry_info().is_some(), "{locked}");
    }
}

#[tokio::test]
async fn the_other_packages_of_a_call_are_done() {
    let (server, mut client, held) = started().await;
    let lock = lock(&server, HELD).await;
    let error = spend(&mut client, "held", held.clone()).await.unwrap_err();
    let failures = package_details(&error).failures;
    let contended = (0..).zip(&held).filter(|(_, name)| name.device_id == "held");
    let expected: Vec<(u32, _)> = contended.map(|(n, _)| (n, ErrorReason::Contended)).collect();
    let failed: Vec<_> = failures.iter().map(|one| (one.index, one.reason())).collect();
    assert_eq!(failed, expected);
    lock.batch_execute("COMMIT").await.unwrap();
    spend(&mut client, "held", held).await.unwrap();
}

#[tokio::test]
async fn a_device_whose_packages_stay_locked_is_missing_for_that_reason() {
    let (server, mut client, _) = started().await;
    let _lock = lock(&server, FREE).await;
    let both = || vec![device("bob", "free"), device("alice", "phone")];
    let some = reserve(&mut client, "some", both()).await.unwrap();
    assert_eq!(names(&some).len(), 1);
    let missing: Vec<_> = some.missing.iter().map(|one| one.reason()).collect();
    assert_eq!(missing, [ErrorReason::Contended]);

    let all = ReserveKeyPackagesRequest { require_all: true, ..reserve_request("all", both()) };
    let error = client.reserve_key_packages(all).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::Contended);
    assert_eq!(reserve_details(&error).missing.len(), 1);
    eventually("what it had is given back", async || {
        pool(&mut client, "alice", "phone").await.reserved == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_repeated_on_all_replicas_at_once_never_deadlock() {
    let database = TestDatabase::create().await;
    let admin = connect(&database.config()).await;
    // Otherwise a statement gives up waiting for a lock before anybody looks for a deadlock.
    let soon = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 5', current_database()); END $$";
    admin.batch_execute(soon).await.unwrap();
    let role = database.create_owner("secret").await;
    let url = database.url_as(&role, "secret");
    let server = TestServer::start_with_database(database, |config| {
        config.database_url = Some(DatabaseUrl::new(url));
    })
    .await;
    // Rows are locked one after the other, and slowly, so that statements which run at the same time get in each other's way.
    let slowly = "CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql AS
                  $$ BEGIN PERFORM pg_sleep(0.001); RETURN true; END $$;
                  ALTER TABLE one_time ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                  CREATE POLICY slowly ON one_time USING (slowly())";
    let replicas = [server.replica().await, server.replica().await];
    let mut clients = vec![client(&server).await];
    for replica in &replicas {
        clients.push(client(replica).await);
    }
    const DEVICES: usize = 5;
    for number in 0..DEVICES {
        fill(&mut clients[0], "bob", &format!("device-{number}"), 40).await;
    }
    admin.batch_execute(slowly).await.unwrap();
    let mut calls = JoinSet::new();
    for caller in 0..20 {
        let clients = clients.clone();
        calls.spawn(async move {
            let id = format!("r{caller}");
            let mut first = clients[caller % clients.len()].clone();
            let held = reserve(&mut first, &id, vec![user("bob")]).await.unwrap();
            let mut packages = names(&held);
            for round in 0..4 {
                // Not in any one order.
                packages.rotate_left(1);
                let repeats = clients.iter().enumerate().map(|(number, client)| {
                    let (mut client, id, mut packages) =
                        (client.clone(), id.clone(), packages.clone());
                    packages.rotate_left(number);
                    async move {
                        match round {
                            3 => spend(&mut client, &id, packages).await,
                            _ => extend(&mut client, &id, packages).await.map(drop),
                        }
                    }
                });
                let repeats: JoinSet<_> = repeats.collect();
                for answer in repeats.join_all().await {
                    answer.unwrap();
                }
            }
        });
    }
    calls.join_all().await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(super::number(&server, deadlocks).await, 0);
    for number in 0..DEVICES {
        assert_eq!(pool(&mut clients[0], "bob", &format!("device-{number}")).await.spent, 20);
    }
}
