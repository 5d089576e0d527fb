//! Promises that depend on the time hold although the clocks of the machines differ: all replicas go by the database's.

use crate::support::{
    Client, calls::*, client, device, fill, fill_last_resort, locks::connect, pool, reason,
    reserve_request, spend, spend_request, upload, upload_request,
};
use jiff::{SignedDuration, Timestamp};
use keypool_proto::v1::{ErrorReason, ReservedKeyPackage};
use keypool_service::{
    clock::{Clock, MAX_SKEW, SystemClock},
    store::{Connector, Store},
    testing::{packages::PackageMaker, server::TestServer},
};
use std::{sync::Arc, time::Duration};
use tonic::Status;

/// How far the clock of the other replica's machine is ahead, in milliseconds: nearly as far as is tolerated, and far beyond.
const AHEAD: [i64; 4] = [1500, -1500, 3_600_000, -3_600_000];

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Two replicas on one database. The clock of the other's machine is wrong.
struct Replicas {
    right: TestServer,
    other: TestServer,
}

impl Replicas {
    async fn start(ahead: i64) -> Self {
        let right = TestServer::start().await;
        let other = right.replica_ahead(SignedDuration::from_millis(ahead)).await;
        Self { right, other }
    }

    async fn clients(&self) -> [Client; 2] {
        [client(&self.right).await, client(&self.other).await]
    }

    /// Asks a moment before something ends and a moment after. `lasts` says whether it still does; however slow the machine is, it
    /// must be right.
    async fn ends(&self, end: Timestamp, mut lasts: impl AsyncFnMut() -> bool) {
        let clock = self.right.clock();
        for moment in [-SECOND, SECOND] {
            clock.advance((end + moment).duration_since(clock.now()));
            let asked = clock.now();
            let lasts = lasts().await;
            let answered = clock.now();
            if lasts {
                assert!(asked < end, "{} too late", asked.duration_since(end));
            } else {
                assert!(answered >= end, "{} too early", end.duration_since(answered));
            }
        }
    }
}

/// In about an hour: lifetimes are of whole seconds.
fn in_an_hour() -> Timestamp {
    Timestamp::from_second(SystemClock.now().as_second() + 3600).unwrap()
}

fn ending_at(of: &str, end: Timestamp) -> PackageMaker {
    PackageMaker::new("bob", of).lifetime(end - 120 * MINUTE, end)
}

async fn hold(
    client: &mut Client,
    reservation: &str,
    of: &str,
    seconds: i64,
) -> Result<ReservedKeyPackage, Status> {
    let mut request = reserve_request(reservation, vec![device("bob", of)]);
    request.ttl = Some(prost_types::Duration { seconds, nanos: 0 });
    let response = client.reserve_key_packages(request).await?.into_inner();
    Ok(packages(&response)[0].clone())
}

fn held_until(package: &ReservedKeyPackage) -> Timestamp {
    time(package.hold_expire_time.as_ref().unwrap())
}

/// Whether nobody else gets a device's only package.
async fn is_kept(client: &mut Client, by: &str, of: &str) -> bool {
    match hold(client, by, of, 600).await {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(reason(&error), ErrorReason::PoolExhausted);
            true
        }
    }
}

#[tokio::test]
async fn no_replica_hands_out_what_is_held_and_each_what_is_not() {
    for ahead in AHEAD {
        let replicas = Replicas::start(ahead).await;
        let [right, other] = replicas.clients().await;
        for (ways, [mut one, mut another]) in
            [("one", [right.clone(), other.clone()]), ("two", [other, right])]
        {
            for ttl in [1, 2, 5] {
                let phone = format!("phone {ways} {ttl}");
                fill(&mut one, "bob", &phone, 1).await;
                let held = hold(&mut one, "one", &phone, ttl).await.unwrap();
                let lasts = async || is_kept(&mut another, "another", &phone).await;
                replicas.ends(held_until(&held), lasts).await;
                spend(&mut another, "another", named(&held)).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_hold_lasts_as_long_as_another_replica_extended_it() {
    for ahead in AHEAD {
        let replicas = Replicas::start(ahead).await;
        let [mut right, mut other] = replicas.clients().await;
        fill(&mut right, "bob", "phone", 1).await;
        let held = hold(&mut right, "one", "phone", 5).await.unwrap();
        let until = extend(&mut right, "one", named(&held)).await.unwrap();
        let again = hold(&mut other, "one", "phone", 5).await.unwrap();
        assert_eq!(held_until(&again), until, "the same answer");
        replicas.ends(until, async || is_kept(&mut other, "another", "phone").await).await;
    }
}

#[tokio::test]
async fn no_replica_hands_out_or_takes_what_is_about_to_expire() {
    for ahead in AHEAD {
        let replicas = Replicas::start(ahead).await;
        let [mut right, mut other] = replicas.clients().await;
        let end = in_an_hour();
        upload(&mut right, "bob", "phone", ending_at("phone", end).make_many(2)).await;
        let floor = end - 10 * MINUTE;
        let mut reservations = ["one", "two"].into_iter();
        let mut later = ending_at("laptop", end).make_many(2);
        replicas
            .ends(floor, async || {
                let reservation = reservations.next().unwrap();
                hold(&mut other, reservation, "phone", 600).await.is_ok()
            })
            .await;
        replicas
            .ends(floor, async || {
                let request = upload_request("bob", "laptop", vec![later.pop().unwrap()]);
                let result = other.upload_key_packages(request).await;
                result.is_ok_and(|response| rejections(response.get_ref())[0] as i32 == 0)
            })
            .await;
    }
}

#[tokio::test]
async fn a_hold_on_a_revoked_package_is_good_for_a_day_on_each_replica() {
    for ahead in AHEAD {
        let replicas = Replicas::start(ahead).await;
        let [mut right, mut other] = replicas.clients().await;
        fill(&mut right, "bob", "phone", 2).await;
        let mut held = Vec::new();
        for reservation in ["one", "two"] {
            held.push((reservation, hold(&mut right, reservation, "phone", 600).await.unwrap()));
        }
        revoke_all(&mut right, "bob", "phone").await;
        let admin = connect(&replicas.right.database().config()).await;
        let revoked = "SELECT max(revoked_at) FROM revoked";
        let revoked: Timestamp = admin.query_one(revoked, &[]).await.unwrap().get(0);
        let mut held = held.into_iter();
        replicas
            .ends(revoked + DAY, async || {
                let (reservation, package) = held.next().unwrap();
                spend(&mut other, reservation, named(&package)).await.is_ok()
            })
            .await;
    }
}

#[tokio::test]
async fn no_replica_purges_what_is_still_needed() {
    for ahead in AHEAD {
        let replicas = Replicas::start(ahead).await;
        let [mut right, _] = replicas.clients().await;
        let end = in_an_hour();
        upload(&mut right, "bob", "phone", vec![ending_at("phone", end).make()]).await;
        replicas
            .ends(end + DAY, async || {
                replicas.other.server().pool().sweep().await.unwrap();
                pool(&mut right, "bob", "phone").await.purged == 0
            })
            .await;
    }
}

/// Spends of last resorts are noted at the time that every replica has.
#[tokio::test]
async fn the_log_is_in_the_order_in_which_things_happened() {
    let replicas = Replicas::start(1500).await;
    let mut clients = replicas.clients().await;
    fill_last_resort(&mut clients[0], "bob", "phone").await;
    for n in 0..6 {
        let reservation = format!("r{n}");
        let client = &mut clients[n % 2];
        let package = hold(client, &reservation, "phone", 60).await.unwrap();
        client.spend_reservation(spend_request(&reservation, named(&package))).await.unwrap();
        replicas.right.clock().advance(SECOND / 10);
    }
    let log = spend_log(&replicas.right.endpoint(), <_>::default()).await;
    let order: Vec<_> = log.iter().map(|entry| entry.reservation_id.as_str()).collect();
    assert_eq!(order, ["r5", "r4", "r3", "r2", "r1", "r0"]);
}

#[tokio::test]
async fn the_skew_is_still_shown() {
    let server = TestServer::start().await;
    for ahead in [-10_000, -1500, 0, 1500, 10_000] {
        let ahead = SignedDuration::from_millis(ahead);
        let clock = Arc::new(server.clock().fellow(ahead));
        let connector = Connector::plain(server.database().config());
        let store = Store::new(connector, clock.clone(), 1, Duration::from_secs(30)).unwrap();
        let check = store.check().await.unwrap();
        assert_eq!(check.clock_skew.abs() > MAX_SKEW, ahead.abs() > MAX_SKEW);
        let off = clock.machine().duration_since(clock.now()) - ahead;
        assert!(off.abs() < SECOND / 2, "{off}");
    }
}

#[tokio::test]
async fn a_connection_tells_the_time_before_it_is_used() {
    let server = TestServer::start().await;
    let clock = Arc::new(server.clock().fellow(60 * MINUTE));
    let connector = Connector::plain(server.database().config());
    let store = Store::new(connector, clock.clone(), 1, Duration::from_secs(30)).unwrap();
    assert!(clock.now().duration_since(SystemClock.now()) > 59 * MINUTE);
    drop(store.session().await.unwrap());
    assert!(clock.now().duration_since(SystemClock.now()).abs() < MINUTE);
}
