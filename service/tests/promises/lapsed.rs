//! Promise 6: a hold that lapses gives its package back by itself, and a late spend never takes it from another.

use crate::support::{
    Client, calls::*, client, device, fill, pool, reason, reserve_request, spend,
};
use jiff::SignedDuration;
use keypool_proto::v1::{ErrorReason, ReservedKeyPackage};
use keypool_service::testing::server::TestServer;

/// The longest hold: a test that runs slowly must not outlast it.
const HOLD: SignedDuration = SignedDuration::from_mins(10);

async fn hold(client: &mut Client, reservation: &str) -> Result<ReservedKeyPackage, ErrorReason> {
    let mut request = reserve_request(reservation, vec![device("bob", "phone")]);
    request.ttl = Some(prost_types::Duration { seconds: HOLD.as_secs(), nanos: 0 });
    let response = client.reserve_key_packages(request).await.map_err(|error| reason(&error))?;
    Ok(packages(&response.into_inner())[0].clone())
}

/// A service with one package, which a hold that has lapsed is on.
async fn with_lapsed_hold() -> (TestServer, Client, ReservedKeyPackage) {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let lapsed = hold(&mut client, "r1").await.unwrap();
    server.clock().advance(HOLD);
    (server, client, lapsed)
}

#[tokio::test]
async fn its_package_is_back_at_the_moment_that_the_hold_ends() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let first = hold(&mut client, "r1").await.unwrap();

    let almost = HOLD - SignedDuration::from_secs(60);
    server.clock().advance(almost);
    assert_eq!(hold(&mut client, "r2").await, Err(ErrorReason::PoolExhausted));
    assert_eq!(pool(&mut client, "bob", "phone").await.reserved, 1);
    server.clock().advance(HOLD - almost);
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 1);
    assert_eq!(hold(&mut client, "r2").await.unwrap().name, first.name);
}

#[tokio::test]
async fn a_late_spend_succeeds_if_nobody_took_the_package() {
    let (_server, mut client, lapsed) = with_lapsed_hold().await;
    spend(&mut client, "r1", named(&lapsed)).await.unwrap();
    assert_eq!(hold(&mut client, "r2").await, Err(ErrorReason::PoolExhausted));
}

#[tokio::test]
async fn a_late_spend_fails_if_another_holds_the_package() {
    let (_server, mut client, lapsed) = with_lapsed_hold().await;
    let taken = hold(&mut client, "r2").await.unwrap();
    assert_eq!(taken.name, lapsed.name);
    let error = spend(&mut client, "r1", named(&lapsed)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::ReservationLost);
    let error = extend(&mut client, "r1", named(&lapsed)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::ReservationLost);
    spend(&mut client, "r2", named(&taken)).await.unwrap();
}

#[tokio::test]
async fn a_late_spend_fails_if_anothers_hold_has_lapsed_too() {
    let (server, mut client, lapsed) = with_lapsed_hold().await;
    hold(&mut client, "r2").await.unwrap();
    server.clock().advance(HOLD);
    let error = spend(&mut client, "r1", named(&lapsed)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::ReservationLost);
}

#[tokio::test]
async fn a_late_spend_fails_if_another_spent_the_package() {
    let (_server, mut client, lapsed) = with_lapsed_hold().await;
    let taken = hold(&mut client, "r2").await.unwrap();
    spend(&mut client, "r2", named(&taken)).await.unwrap();
    let error = spend(&mut client, "r1", named(&lapsed)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::KeyPackageAlreadySpent);
    // A repetition of the first reserve does not pretend either.
    assert_eq!(hold(&mut client, "r1").await, Err(ErrorReason::PoolExhausted));
}

#[tokio::test]
async fn a_late_spend_fails_if_another_took_the_package_and_gave_it_back() {
    let (_server, mut client, lapsed) = with_lapsed_hold().await;
    let taken = hold(&mut client, "r2").await.unwrap();
    release(&mut client, "r2", named(&taken)).await.unwrap();
    let error = spend(&mut client, "r1", named(&lapsed)).await.unwrap_err();
    assert_eq!(reason(&error), ErrorReason::ReservationLost);
    assert_eq!(pool(&mut client, "bob", "phone").await.available, 1);
}

#[tokio::test]
async fn a_late_release_takes_nothing_from_another() {
    let (_server, mut client, lapsed) = with_lapsed_hold().await;
    hold(&mut client, "r2").await.unwrap();
    release(&mut client, "r1", named(&lapsed)).await.unwrap();
    assert_eq!(pool(&mut client, "bob", "phone").await.reserved, 1);
}

#[tokio::test]
async fn it_can_be_extended_as_long_as_nobody_took_the_package() {
    let (_server, mut client, lapsed) = with_lapsed_hold().await;
    extend(&mut client, "r1", named(&lapsed)).await.unwrap();
    assert_eq!(hold(&mut client, "r2").await, Err(ErrorReason::PoolExhausted));
    spend(&mut client, "r1", named(&lapsed)).await.unwrap();
}

#[tokio::test]
async fn a_repeated_reserve_renews_it_on_the_same_package() {
    let (server, mut client, lapsed) = with_lapsed_hold().await;
    fill(&mut client, "bob", "phone", 3).await;
    let renewed = hold(&mut client, "r1").await.unwrap();
    assert_eq!(renewed.name, lapsed.name);
    server.clock().advance(HOLD - SignedDuration::from_secs(60));
    assert_eq!(pool(&mut client, "bob", "phone").await.reserved, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_late_spend_and_a_new_reserve_at_the_same_time_one_wins() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let mut lapsed = hold(&mut client, "r0").await.unwrap();
    for round in 0..40 {
        let [late, new] = [format!("r{round}"), format!("r{}", round + 1)];
        server.clock().advance(HOLD);
        let (mut one, mut other) = (client.clone(), client.clone());
        let name = named(&lapsed);
        let spending = tokio::spawn(async move { spend(&mut one, &late, name).await });
        let reserving = tokio::spawn(async move { hold(&mut other, &new).await });
        match (spending.await.unwrap(), reserving.await.unwrap()) {
            (Err(error), Ok(taken)) => {
                assert_eq!(reason(&error), ErrorReason::ReservationLost);
                lapsed = taken;
            }
            (Ok(()), Err(missing)) => {
                assert_eq!(missing, ErrorReason::PoolExhausted);
                fill(&mut client, "bob", "phone", 1).await;
                lapsed = hold(&mut client, &format!("r{}", round + 1)).await.unwrap();
            }
            both => panic!("both or none have the package: {both:?}"),
        }
    }
}
