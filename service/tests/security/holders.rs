//! A reservation is its holder's, and callers are limited as the principals that they are.

use super::support::{
    Client, by,
    calls::{eventually, extend_request, named, packages, release_request},
    client, device, package_details, raw, reason, reserve_request, spend_request, upload_request,
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    self, ErrorReason, ReservedKeyPackage, SpendReservationRequest, UnusableReason,
};
use keypool_service::{
    clock::{Clock, SystemClock},
    config::Config,
    testing::{issuer::TestIssuer, packages::PackageMaker, server::TestServer},
};
use prost::Message;
use std::time::Duration;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

const PATIENCE: Duration = Duration::from_secs(30);

/// A service with tokens, a client, and a pool of four packages.
async fn started(configure: impl FnOnce(&mut Config)) -> (TestServer, TestIssuer, Client) {
    let issuer = TestIssuer::new();
    let server = TestServer::start_with(|config| {
        config.auth = issuer.config();
        configure(config);
    })
    .await;
    let mut client = client(&server).await;
    let packages = PackageMaker::new("carol", "phone").make_many(4);
    let backend = issuer.service("chat", &["backend"]);
    let upload = by(&backend, upload_request("carol", "phone", packages));
    client.upload_key_packages(upload).await.unwrap();
    (server, issuer, client)
}

pub(super) fn inviter(issuer: &TestIssuer, user: &str) -> String {
    issuer.user(user, Some("phone"), &["inviter"])
}

async fn reserve(
    client: &mut Client,
    token: &str,
    reservation: &str,
) -> Result<ReservedKeyPackage, Status> {
    let request = reserve_request(reservation, vec![device("carol", "phone")]);
    let response = client.reserve_key_packages(by(token, request)).await?.into_inner();
    Ok(packages(&response)[0].clone())
}

fn not_found(status: &Status) {
    assert_eq!(status.code(), Code::NotFound);
    let failures = package_details(status).failures;
    assert_eq!(failures[0].reason(), ErrorReason::ReservationNotFound, "{status:?}");
}

#[tokio::test]
async fn only_the_holder_spends_extends_and_releases() {
    let (_server, issuer, mut client) = started(|_| {}).await;
    let [alice, mallory] = ["alice", "mallory"].map(|user| inviter(&issuer, user));
    let backend = issuer.service("chat", &["backend"]);
    let held = reserve(&mut client, &alice, "r").await.unwrap();
    let release = || release_request("r", named(&held), UnusableReason::Unspecified);

    for stranger in [&mallory, &backend] {
        let spend = by(stranger, spend_request("r", named(&held)));
        not_found(&client.spend_reservation(spend).await.unwrap_err());
        let extend = by(stranger, extend_request("r", named(&held)));
        not_found(&client.extend_reservation(extend).await.unwrap_err());
        // There is nothing to release, as of one that nobody holds.
        client.release_reservation(by(stranger, release())).await.unwrap();
        // The reservation id is the stranger's own.
        let other = reserve(&mut client, stranger, "r").await.unwrap();
        assert_ne!(other.name, held.name);
    }
    let for_alice = SpendReservationRequest {
        on_behalf_of: "alice".into(),
        ..spend_request("r", named(&held))
    };
    client.extend_reservation(by(&alice, extend_request("r", named(&held)))).await.unwrap();
    client.spend_reservation(by(&backend, for_alice)).await.unwrap();
}

#[tokio::test]
async fn an_admin_releases_whoever_holds_it() {
    let (_server, issuer, mut client) = started(|_| {}).await;
    let alice = inviter(&issuer, "alice");
    let admin = issuer.service("desk", &["admin"]);
    let held = reserve(&mut client, &alice, "r").await.unwrap();
    let release = release_request("r", named(&held), UnusableReason::Unspecified);
    client.release_reservation(by(&admin, release)).await.unwrap();
    let lost = client.spend_reservation(by(&alice, spend_request("r", named(&held)))).await;
    let lost = package_details(&lost.unwrap_err()).failures;
    assert_eq!(lost[0].reason(), ErrorReason::ReservationNotFound);
}

#[tokio::test]
async fn no_user_is_taken_for_a_service() {
    let (_server, issuer, mut client) = started(|_| {}).await;
    let backend = issuer.service("chat", &["backend"]);
    let held = reserve(&mut client, &backend, "r").await.unwrap();
    let spend = SpendReservationRequest {
        on_behalf_of: "service:chat".into(),
        ..spend_request("r", named(&held))
    };
    let other = issuer.service("other", &["backend"]);
    let refused = client.spend_reservation(by(&other, spend)).await.unwrap_err();
    assert_eq!(super::support::fields(&refused), ["on_behalf_of"]);
    let chat = inviter(&issuer, "service:chat");
    let refused = reserve(&mut client, &chat, "other").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn health_needs_no_credentials_and_reflection_does() {
    let (server, issuer, _) = started(|_| {}).await;
    let channel = Channel::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let ask = || tokio_stream::iter([Default::default()]);
    let refused = reflection.server_reflection_info(ask()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let token = inviter(&issuer, "alice");
    reflection.server_reflection_info(by(&token, ask())).await.unwrap();
}

#[tokio::test]
async fn a_principal_watches_no_more_pools_than_it_may() {
    let (_server, issuer, mut client) =
        started(|config| config.limits.watches_per_principal = 2).await;
    let alice = issuer.user("alice", Some("phone"), &["device"]);
    let watch = || v1::WatchPoolRequest { user_id: "alice".into(), device_id: "phone".into() };
    let first = client.watch_pool(by(&alice, watch())).await.unwrap();
    let _second = client.watch_pool(by(&alice, watch())).await.unwrap();
    let refused = client.watch_pool(by(&alice, watch())).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::TooManyWatches);
    assert_eq!(refused.get_error_details().error_info().unwrap().metadata["limit"], "principal");
    // Others are not affected, and one that ended makes room.
    let backend = issuer.service("chat", &["backend"]);
    let _other = client.watch_pool(by(&backend, watch())).await.unwrap();
    drop(first);
    eventually("there is room", async || client.watch_pool(by(&alice, watch())).await.is_ok())
        .await;
}

#[tokio::test]
async fn a_watch_ends_with_the_token_that_it_was_opened_by() {
    let (server, issuer, mut client) = started(|_| {}).await;
    let request = || v1::WatchPoolRequest { user_id: "alice".into(), device_id: "phone".into() };
    let mut claims = TestIssuer::claims("chat", &["backend"]);
    claims["exp"] = (SystemClock.now().as_second() + 3600).into();
    let short = issuer.token(claims);
    // Two seconds before it ends, leeway included.
    server.clock().advance(SignedDuration::from_secs(3600 + 30 - 2));
    let mut watch = client.watch_pool(by(&short, request())).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    let ended =
        tokio::time::timeout(PATIENCE, watch.message()).await.expect("it ends").unwrap_err();
    assert_eq!(
        (ended.code(), reason(&ended)),
        (Code::Unauthenticated, ErrorReason::Unauthenticated)
    );
}

#[tokio::test]
async fn a_principal_has_no_more_calls_under_way_than_it_may() {
    let (server, issuer, mut client) = started(|config| {
        config.limits.calls_per_principal = 1;
        config.lanes.reserve = 1;
    })
    .await;
    let alice = inviter(&issuer, "alice");
    let lock = super::support::locks::lock_table(&server, "device").await;
    let waiting = {
        let mut client = client.clone();
        let carol = issuer.user("carol", Some("phone"), &["device"]);
        let packages = PackageMaker::new("carol", "phone").make_many(1);
        let upload = by(&carol, upload_request("carol", "phone", packages));
        tokio::spawn(async move { client.upload_key_packages(upload).await })
    };
    super::support::locks::somebody_waits(server.database()).await;
    let status = v1::GetPoolStatusRequest { user_id: "carol".into(), device_id: "phone".into() };
    let carol = issuer.user("carol", Some("phone"), &["device"]);
    let refused = client.get_pool_status(by(&carol, status.clone())).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::RateLimited);
    reserve(&mut client, &alice, "r").await.unwrap();
    lock.batch_execute("ROLLBACK").await.unwrap();
    waiting.await.unwrap().unwrap();
    client.get_pool_status(by(&carol, status)).await.unwrap();
}

#[tokio::test]
async fn keys_that_can_not_be_had_yet_are_not_the_callers_fault() {
    let issuer = TestIssuer::new();
    let server = TestServer::start_with(|config| {
        config.auth = issuer.config();
        if let Some(tokens) = &mut config.auth.tokens {
            tokens.jwks = "/nowhere/jwks.json".to_owned().try_into().unwrap();
        }
    })
    .await;
    let channel = Channel::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
    let token = issuer.service("chat", &["backend"]);
    let request = v1::GetPoolStatusRequest { user_id: "a".into(), device_id: "b".into() };
    let method = "KeyPackageService/GetPoolStatus";
    let status =
        raw::call_as(&channel, Some(&token), method, request.encode_to_vec()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), ErrorReason::IssuerUnavailable);
}
