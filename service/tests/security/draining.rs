//! Nobody drains another's pool: not alone, not in company, not over several replicas.

use super::support::{
    Client,
    calls::{packages, release_request},
    client, device, fill, fill_last_resort, pool, reason, reserve_request, upload_request,
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    ErrorReason, KeyPackageName, ReleaseReservationRequest, ReserveKeyPackagesRequest,
    ReservedKeyPackage, SpendReservationRequest, UnusableReason,
};
use keypool_service::{
    clock::Clock,
    limits::Rate,
    testing::{packages::PackageMaker, server::TestServer},
    types::{CipherSuite, ReturnedTo},
};
use tokio::task::JoinSet;
use tonic::Status;
use tonic_types::StatusExt;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// One holder may be handed 2 packages of a device, and all together 8 of its one-time packages as their first and 8 as further ones;
/// then one more a minute.
async fn server() -> TestServer {
    let server = TestServer::start_with(|config| {
        config.limits.rates.holder_and_device = Rate::new(2, MINUTE);
        config.limits.rates.device = Rate::new(8, MINUTE);
    })
    .await;
    fill(&mut client(&server).await, "victim", "phone", 32).await;
    server
}

fn reserve(by: &str, reservation: &str) -> ReserveKeyPackagesRequest {
    let request = reserve_request(reservation, vec![device("victim", "phone")]);
    ReserveKeyPackagesRequest { on_behalf_of: by.into(), ..request }
}

fn spend(by: &str, reservation: &str, package: &KeyPackageName) -> SpendReservationRequest {
    SpendReservationRequest {
        on_behalf_of: by.into(),
        ..super::support::spend_request(reservation, vec![package.clone()])
    }
}

/// Reserves a package of the victim's.
async fn take(
    client: &mut Client,
    by: &str,
    reservation: &str,
) -> Result<ReservedKeyPackage, Status> {
    let response = client.reserve_key_packages(reserve(by, reservation)).await?.into_inner();
    Ok(packages(&response)[0].clone())
}

/// Reserves and spends as often as asked, and counts the one-time and the last-resort packages got.
async fn attack(mut client: Client, by: String, times: usize) -> (usize, usize) {
    let (mut one_time, mut last_resort) = (0, 0);
    for n in 0..times {
        let reservation = format!("{by} {n}");
        match take(&mut client, &by, &reservation).await {
            Ok(package) => {
                *(if package.last_resort { &mut last_resort } else { &mut one_time }) += 1;
                let name = package.name.as_ref().unwrap();
                client.spend_reservation(spend(&by, &reservation, name)).await.unwrap();
            }
            Err(status) => {
                assert_eq!(reason(&status), ErrorReason::RateLimited, "{status:?}");
                assert!(status.get_error_details().retry_info().is_some());
            }
        }
    }
    (one_time, last_resort)
}

/// So many attackers at once, and what they got together.
async fn attackers(client: &Client, count: usize, times: usize) -> (usize, usize) {
    let mut attacks = JoinSet::new();
    for n in 0..count {
        attacks.spawn(attack(client.clone(), format!("attacker {n}"), times));
    }
    let got = attacks.join_all().await;
    got.into_iter().fold((0, 0), |sum, got| (sum.0 + got.0, sum.1 + got.1))
}

#[tokio::test]
async fn one_attacker_gets_its_rate_and_no_more() {
    let server = server().await;
    let mut client = client(&server).await;
    assert_eq!(attackers(&client, 1, 20).await, (2, 0));
    server.clock().advance(MINUTE * 3);
    let again = attack(client.clone(), "attacker 0".into(), 20);
    // The same reservations: what they have is theirs, however often they ask.
    assert_eq!(again.await, (4, 0));
    assert!(!take(&mut client, "guest", "honest").await.unwrap().last_resort);
}

#[tokio::test]
async fn ten_attackers_leave_one_time_packages() {
    let server = server().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "victim", "phone").await;
    assert_eq!(attackers(&client, 10, 5).await, (16, 4));
    assert_eq!(pool(&mut client, "victim", "phone").await.available, 16);
    assert!(take(&mut client, "guest", "honest").await.unwrap().last_resort);
    server.clock().advance(MINUTE);
    assert!(!take(&mut client, "guest", "honest again").await.unwrap().last_resort);
}

#[tokio::test]
async fn a_thousand_attackers_are_held_at_the_rate_of_the_device() {
    let server = server().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "victim", "phone").await;
    assert_eq!(attackers(&client, 1000, 2).await, (16, 1984));
    assert_eq!(pool(&mut client, "victim", "phone").await.available, 16);
    assert!(take(&mut client, "guest", "honest").await.unwrap().last_resort);
    server.clock().advance(MINUTE * 10);
    assert_eq!(attack(client.clone(), "late".into(), 4).await, (2, 0));
    assert!(!take(&mut client, "guest", "honest again").await.unwrap().last_resort);
}

#[tokio::test]
async fn without_a_last_resort_the_rate_of_the_device_refuses() {
    let server = server().await;
    let mut client = client(&server).await;
    assert_eq!(attackers(&client, 20, 2).await, (16, 0));
    let refused = take(&mut client, "guest", "honest").await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::RateLimited);
    server.clock().advance(MINUTE);
    assert!(take(&mut client, "guest", "honest").await.is_ok());
}

/// How an attacker ends its holds.
#[derive(Debug, Clone, Copy)]
enum End {
    Spend,
    Release,
    Lapse,
}

/// By default, for a quarter of an hour: whoever comes for the first time gets a package that is not shared, all the time.
#[tokio::test]
async fn who_takes_all_it_can_leaves_some_for_others() {
    for (attackers, end) in
        [(1, End::Spend), (3, End::Spend), (3, End::Release), (3, End::Lapse), (10, End::Release)]
    {
        let server = TestServer::start_with(|config| {
            config.pool.returned_packages.backend = ReturnedTo::SameHolder;
        })
        .await;
        let mut client = client(&server).await;
        fill(&mut client, "victim", "phone", 32).await;
        fill_last_resort(&mut client, "victim", "phone").await;
        for round in 0..45 {
            for n in 0..attackers {
                let by = format!("attacker {n}");
                let reservation = format!("{by} {round}");
                let Ok(package) = take(&mut client, &by, &reservation).await else { continue };
                let name = package.name.unwrap();
                match end {
                    End::Spend => {
                        client.spend_reservation(spend(&by, &reservation, &name)).await.map(drop)
                    }
                    End::Release => {
                        let request = ReleaseReservationRequest {
                            on_behalf_of: by,
                            ..release_request_of(&reservation, name)
                        };
                        client.release_reservation(request).await.map(drop)
                    }
                    End::Lapse => Ok(()),
                }
                .unwrap();
            }
            if round % 15 == 14 {
                let guest = format!("guest {round}");
                let honest = take(&mut client, &guest, "honest").await.unwrap();
                assert!(!honest.last_resort, "{attackers} {end:?}, round {round}");
            }
            server.clock().advance(SignedDuration::from_secs(20));
        }
    }
}

/// One account, 26 calls: the packages that it gives back are there for others.
#[tokio::test]
async fn who_gives_back_all_that_it_gets_keeps_nobody_from_a_package() {
    let server = server().await;
    let mut client = client(&server).await;
    for n in 0..26 {
        let reservation = format!("r{n}");
        let Ok(package) = take(&mut client, "mallory", &reservation).await else { continue };
        let request = ReleaseReservationRequest {
            on_behalf_of: "mallory".into(),
            ..release_request_of(&reservation, package.name.unwrap())
        };
        client.release_reservation(request).await.unwrap();
    }
    assert!(!take(&mut client, "guest", "honest").await.unwrap().last_resort);
}

fn release_request_of(reservation: &str, name: KeyPackageName) -> ReleaseReservationRequest {
    release_request(reservation, vec![name], UnusableReason::Unspecified)
}

#[tokio::test]
async fn the_last_packages_are_for_holders_that_had_none_lately() {
    let server = TestServer::start_with(|config| {
        config.pool.low_watermark = 3;
        config.pool.target = 4;
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "victim", "phone", 5).await;
    let (one_time, _) = attack(client.clone(), "attacker".into(), 5).await;
    assert_eq!(one_time, 2);
    let refused = take(&mut client, "attacker", "one more").await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::RateLimited);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["limit"], "fair_share");
    let wait = details.retry_info().unwrap().retry_delay.unwrap();
    for n in 0..2 {
        take(&mut client, &format!("guest {n}"), "honest").await.unwrap();
    }
    server.clock().advance(SignedDuration::try_from(wait).unwrap());
    take(&mut client, "attacker", "later").await.unwrap();
}

/// Whichever suites an attacker accepts, and whichever packages are the next to be handed out.
#[tokio::test]
async fn the_last_packages_of_each_suite_are_for_holders_that_had_none_lately() {
    const SUITES: [u32; 2] = [1, 3];
    for (first, accepted) in [
        (SUITES[0], vec![]),
        (SUITES[1], vec![]),
        (SUITES[0], SUITES.to_vec()),
        (SUITES[1], vec![SUITES[1]]),
    ] {
        let server = TestServer::start_with(|config| {
            config.pool.low_watermark = 3;
            config.pool.target = 4;
        })
        .await;
        let mut client = client(&server).await;
        for suite in SUITES {
            let days = if suite == first { 20 } else { 60 };
            let now = server.clock().now();
            let maker = PackageMaker::new("victim", "phone")
                .cipher_suite(CipherSuite(u16::try_from(suite).unwrap()))
                .lifetime(now - MINUTE, now + SignedDuration::from_hours(days * 24));
            let upload = upload_request("victim", "phone", maker.make_many(5));
            client.upload_key_packages(upload).await.unwrap();
        }
        let reserve = |by: &str, reservation: &str, suites: &[u32]| ReserveKeyPackagesRequest {
            cipher_suites: suites.to_vec(),
            ..reserve(by, reservation)
        };
        let mut got = 0;
        for n in 0..10 {
            let request = reserve("attacker", &format!("a{n}"), &accepted);
            got += usize::from(client.reserve_key_packages(request).await.is_ok());
        }
        // Two of each suite are above the watermark.
        assert_eq!(got, if accepted.len() == 1 { 2 } else { 4 }, "{first} {accepted:?}");
        for suite in SUITES {
            for n in 0..2 {
                let request = reserve(&format!("guest {n} of {suite}"), "honest", &[suite]);
                let answer = client.reserve_key_packages(request).await;
                answer.unwrap_or_else(|status| panic!("{first} {accepted:?} {suite}: {status:?}"));
            }
        }
    }
}

#[tokio::test]
async fn a_back_end_that_names_nobody_is_not_limited() {
    let server = server().await;
    let client = client(&server).await;
    let (one_time, _) = attack(client, String::new(), 32).await;
    assert_eq!(one_time, 32);
}

#[tokio::test]
async fn a_holder_is_limited_before_the_database_is_asked() {
    let server = TestServer::start_with(|config| {
        config.limits.rates.holder = Rate::new(2, MINUTE);
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "victim", "phone", 16).await;
    take(&mut client, "guest", "1").await.unwrap();
    take(&mut client, "guest", "2").await.unwrap();
    let refused = take(&mut client, "guest", "3").await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::RateLimited);
    let wait = refused.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    assert!(wait.as_secs() <= 60 && wait.as_secs() >= 30, "{wait:?}");
    take(&mut client, "other", "4").await.unwrap();
    server.clock().advance(MINUTE);
    take(&mut client, "guest", "3").await.unwrap();
}

#[tokio::test]
async fn replicas_count_live_holds_together() {
    let server = TestServer::start_with(|config| {
        config.limits.rates.holder_and_device = Rate::new(1000, MINUTE);
        config.limits.rates.device = Rate::new(1000, MINUTE);
    })
    .await;
    let replica = server.replica().await;
    let clients = [client(&server).await, client(&replica).await];
    fill(&mut clients[0].clone(), "victim", "phone", 64).await;
    let mut takes = JoinSet::new();
    for n in 0..64 {
        let mut client = clients[n % 2].clone();
        takes.spawn(async move { take(&mut client, "guest", &format!("r{n}")).await });
    }
    let got = takes.join_all().await.into_iter().filter(Result::is_ok).count();
    assert!(got <= 8, "{got}");
    assert_eq!(pool(&mut clients[0].clone(), "victim", "phone").await.reserved, got as u64);
    // Both may have been over at the same moment, and given back: what is left of the limit is there for the next.
    for n in got..8 {
        take(&mut clients[n % 2].clone(), "guest", &format!("more {n}")).await.unwrap();
    }
    take(&mut clients[0].clone(), "guest", "one too many").await.unwrap_err();
}

#[tokio::test]
async fn a_device_that_uploads_too_often_is_refused() {
    let server = TestServer::start_with(|config| {
        config.limits.rates.upload = Rate::new(4, MINUTE);
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "victim", "phone", 4).await;
    fill(&mut client, "victim", "laptop", 1).await;
    let maker = PackageMaker::new("victim", "phone");
    let upload = || upload_request("victim", "phone", maker.make_many(1));
    let refused = client.upload_key_packages(upload()).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::RateLimited);
    server.clock().advance(MINUTE);
    client.upload_key_packages(upload()).await.unwrap();
}

#[tokio::test]
async fn asking_an_empty_pool_uses_nothing_up() {
    let server = server().await;
    let mut client = client(&server).await;
    for n in 0..4 {
        let request = reserve_request(&format!("r{n}"), vec![device("victim", "watch")]);
        let request = ReserveKeyPackagesRequest { on_behalf_of: "guest".into(), ..request };
        let status = client.reserve_key_packages(request).await.unwrap_err();
        assert_eq!(reason(&status), ErrorReason::UnknownDevice);
    }
    fill(&mut client, "victim", "watch", 1).await;
    let request = reserve_request("now", vec![device("victim", "watch")]);
    let request = ReserveKeyPackagesRequest { on_behalf_of: "guest".into(), ..request };
    client.reserve_key_packages(request).await.unwrap();
}
