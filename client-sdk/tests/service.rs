//! The client against the real service, on a real database.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;

use keypool_client::mls::{Invite, PackageState, PoolStore};
use keypool_client::{
    BasicIdentity, Client, Error, ErrorReason, Inviter, PoolHealth, PoolKeeper, PublishError,
    Revoke, Target,
};
use keypool_service::testing::server::TestServer;
use support::device::{Device, SUITE};
use support::eventually_async;

async fn start() -> (TestServer, Client) {
    let server = TestServer::start().await;
    let client = Client::builder(server.endpoint()).connect().await.unwrap();
    (server, client)
}

async fn refresh(client: &Client, device: &Device) -> usize {
    let keeper = PoolKeeper::builder(client.clone(), &device.user_id, &device.device_id, [SUITE])
        .store(device.store.clone())
        .build(&device.provider, device.credential.clone(), &device.signer);
    keeper.refresh().await.unwrap().uploaded.len()
}

async fn available(client: &Client, device: &Device) -> u64 {
    let status = client.pool_status(&device.user_id, &device.device_id).await.unwrap();
    status.pools[0].available
}

#[tokio::test]
async fn an_invite_from_upload_to_join() {
    let (server, client) = start().await;
    let (alice, phone) = (Device::new("alice", "laptop"), Device::new("bob", "phone"));
    let tablet = Device::new("bob", "tablet");
    for device in [&alice, &phone, &tablet] {
        assert_eq!(refresh(&client, device).await, 33);
        assert_eq!(refresh(&client, device).await, 0);
    }

    let mut group = alice.group();
    let welcome = Mutex::new(Vec::new());
    let publish = async |invite: Invite| {
        *welcome.lock().unwrap() = invite.welcome;
        Ok::<_, PublishError>(())
    };
    let targets = [Target::user("bob"), Target::user("alice"), Target::user("nobody")];
    let invited = Inviter::new(client.clone(), BasicIdentity::default())
        .own_device("alice", "laptop")
        .invite(&mut group, &alice.provider, &alice.signer, targets, publish)
        .await
        .unwrap();

    let added: Vec<_> = invited.added.iter().map(|name| name.device_id.as_str()).collect();
    assert_eq!(added, ["phone", "tablet"]);
    assert!(invited.missing.iter().any(|missing| missing.reason == ErrorReason::UnknownUser));
    assert!(invited.unusable.is_empty());
    let welcome = welcome.into_inner().unwrap();
    assert_eq!(phone.join(&welcome).members().count(), 3);
    assert_eq!(tablet.join(&welcome).members().count(), 3);
    assert_eq!(available(&client, &phone).await, 31);

    // OpenMLS has deleted the private keys of the package that was joined with.
    assert_eq!(refresh(&client, &phone).await, 1);
    let records = phone.store.records().unwrap();
    assert_eq!(records.iter().filter(|record| record.state == PackageState::Spent).count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_dropped_reservation_gives_its_package_back() {
    let (server, client) = start().await;
    let bob = Device::new("bob", "phone");
    refresh(&client, &bob).await;

    let reservation = client.reserve(b"group").user("bob").send().await.unwrap();
    assert_eq!(reservation.packages().len(), 1);
    assert_eq!(available(&client, &bob).await, 31);
    drop(reservation);

    eventually_async(async || available(&client, &bob).await == 32).await;
    server.stop().await;
}

#[tokio::test]
async fn errors_come_with_their_reason() {
    let (server, client) = start().await;
    let bob = Device::new("bob", "phone");

    let error = client.reserve(b"group").user("bob").send().await.unwrap_err();
    assert!(matches!(error, Error::UnknownUser(_)), "{error:?}");
    assert_eq!(error.missing()[0].user_id, "bob");

    refresh(&client, &bob).await;
    let error = client.reserve(b"group").device("bob", "watch").send().await.unwrap_err();
    assert!(matches!(error, Error::UnknownDevice(_)), "{error:?}");
    let error = client.reserve(b"group").user("bob").cipher_suite(3).send().await.unwrap_err();
    assert!(matches!(error, Error::NoCompatiblePackage(_)), "{error:?}");
    let error = client.reserve(b"group").user("").send().await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
    assert_eq!(error.failure().unwrap().violations[0].field, "targets[0].user_id");

    let reservation = client.reserve(b"group").user("bob").send().await.unwrap();
    let id = reservation.keep();
    let other = client.reserve(b"another group").user("bob").reservation_id(id);
    let error = other.send().await.unwrap_err();
    assert!(matches!(error, Error::ReservationIdReused(_)), "{error:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_watch_sees_the_pool_change() {
    let (server, client) = start().await;
    let bob = Device::new("bob", "phone");
    let mut watch = client.watch_pool("bob", "phone");
    assert_eq!(watch.next().await.unwrap().health(), PoolHealth::Empty);

    refresh(&client, &bob).await;
    assert_eq!(watch.next().await.unwrap().health(), PoolHealth::Healthy);

    assert!(client.revoke("bob", Some("phone"), Revoke::All).await.unwrap() >= 32);
    assert_eq!(watch.next().await.unwrap().health(), PoolHealth::Empty);
    drop(watch);
    server.stop().await;
}
