//! An answer is true at the moment it is given, however long its call took.

use super::{
    Hurdle, one_lane,
    support::{
        Client,
        calls::{ending_in, extend_request, named, packages, reserve_one, time},
        client, device, fill, reserve_request, upload,
    },
};
use jiff::SignedDuration;
use keypool_proto::v1::ReserveKeyPackagesRequest;
use keypool_service::{clock::Clock, testing::server::TestServer};

const HOLD: SignedDuration = SignedDuration::from_secs(1);

fn short(reservation: &str) -> ReserveKeyPackagesRequest {
    let ttl = prost_types::Duration { seconds: HOLD.as_secs(), nanos: 0 };
    let request = reserve_request(reservation, vec![device("bob", "phone")]);
    ReserveKeyPackagesRequest { ttl: Some(ttl), ..request }
}

/// Lets a call take far longer than a hold lasts, and returns its answer.
async fn late<T: Send + 'static>(
    server: &TestServer,
    call: impl Future<Output = T> + Send + 'static,
) -> T {
    let hurdle = Hurdle::start(server).await;
    let call = tokio::spawn(call);
    hurdle.somebody_waits(server).await;
    server.clock().advance(HOLD * 3);
    hurdle.end().await;
    call.await.unwrap()
}

async fn started() -> (TestServer, Client) {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 2).await;
    (server, client)
}

#[tokio::test]
async fn a_reserve_that_took_longer_than_its_hold_has_a_hold() {
    let (server, mut client) = started().await;
    let mut caller = client.clone();
    let call = async move { caller.reserve_key_packages(short("r")).await };
    let got = late(&server, call).await.unwrap().into_inner();
    let end = packages(&got)[0].hold_expire_time.unwrap();
    assert!(time(&end) > server.clock().now());
    let again = client.reserve_key_packages(short("r")).await.unwrap().into_inner();
    assert_eq!(packages(&again), packages(&got), "a repeat finds what the answer said");
}

#[tokio::test]
async fn a_repeat_that_took_longer_than_the_hold_has_a_hold() {
    let (server, mut client) = started().await;
    client.reserve_key_packages(short("r")).await.unwrap();
    let call = async move { client.reserve_key_packages(short("r")).await };
    let got = late(&server, call).await.unwrap().into_inner();
    let end = packages(&got)[0].hold_expire_time.unwrap();
    assert!(time(&end) > server.clock().now());
}

#[tokio::test]
async fn an_extend_that_took_longer_than_the_hold_has_a_hold() {
    let (server, mut client) = started().await;
    let held = reserve_one(&mut client, "r", "bob", "phone").await.unwrap();
    server.clock().advance(SignedDuration::from_mins(2)); // lapsed, and nobody took it
    let mut request = extend_request("r", named(&held));
    request.ttl = Some(prost_types::Duration { seconds: HOLD.as_secs(), nanos: 0 });
    let call = async move { client.extend_reservation(request).await };
    let extended = late(&server, call).await.unwrap().into_inner();
    assert!(time(&extended.expire_time.unwrap()) > server.clock().now());
}

#[tokio::test]
async fn a_package_whose_lifetime_ended_meanwhile_is_not_handed_out() {
    let (server, mut client) = started().await;
    let soon = ending_in("bob", "phone", SignedDuration::from_mins(61)).make();
    let soon = upload(&mut client, "bob", "phone", vec![soon]).await;
    server.clock().advance(SignedDuration::from_mins(1) - HOLD);
    let call = async move { reserve_one(&mut client, "r", "bob", "phone").await };
    let hurdle = Hurdle::start(&server).await;
    let call = tokio::spawn(call);
    hurdle.somebody_waits(&server).await;
    server.clock().advance(SignedDuration::from_hours(2));
    hurdle.end().await;
    let got = call.await.unwrap().unwrap();
    assert_ne!(super::support::calls::reference(&got), soon.results[0].key_package_ref);
}
