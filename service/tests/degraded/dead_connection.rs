//! A connection that dies without a word, while the database lives.

use crate::support::network::{Link, Network};
use keypool_service::{
    clock::{Clock, SystemClock},
    store::{Connector, DeviceKey, HeldItem, ReleaseItem, Store, StoreError, migrate},
    testing::database::TestDatabase,
    types::{DeviceId, Holder, KeyPackageRef, ReservationId, UserId},
};
use std::{sync::Arc, time::Duration};

fn release() -> ReleaseItem {
    ReleaseItem {
        held: HeldItem {
            device: DeviceKey::new(UserId::new("bob").unwrap(), DeviceId::new("phone").unwrap()),
            reference: KeyPackageRef::new([7; 32]).unwrap(),
            reservation: ReservationId::new("r").unwrap(),
            holder: Some(Holder::new("inviter").unwrap()),
        },
        principal: None,
        report: None,
        asked_at: None,
    }
}

#[tokio::test]
async fn a_lane_gives_up_a_connection_that_says_nothing() {
    let database = TestDatabase::create().await;
    migrate(&Connector::plain(database.config()), None).await.unwrap();
    let network = Network::before(&database);
    let config = network.url(&database.url()).parse().unwrap();
    let store =
        Store::new(Connector::plain(config), Arc::new(SystemClock), 1, Duration::from_secs(5))
            .unwrap();
    let mut session = store.session().await.unwrap();
    assert!(session.release(&[release()], SystemClock.now()).await.unwrap().is_empty());

    network.set(Link::Silent);
    let items = [release()];
    let answer = session.release(&items, SystemClock.now());
    let lost = tokio::time::timeout(Duration::from_secs(60), answer).await;
    let lost = lost.expect("a lane does not wait for minutes").unwrap_err();
    assert!(matches!(lost, StoreError::Lost(_)), "{lost:?}");
}
