//! Why there is no package, as the lanes ask.

use super::support::{calls::reserve_one, client, fill};
use keypool_service::{
    clock::{Clock, SystemClock},
    store::{Connector, DeviceKey, ReserveFilter, Store, Want},
    testing::server::TestServer,
    types::{DeviceId, GroupId, Holder, ReservationId, ReturnedTo, UserId},
};
use std::{sync::Arc, time::Duration};

fn want(reservation: &str, device: &str) -> Want {
    let holder = Holder::new("service:anonymous").unwrap();
    Want {
        device: DeviceKey::new(UserId::new("bob").unwrap(), DeviceId::new(device).unwrap()),
        reservation: ReservationId::new(reservation).unwrap(),
        group: GroupId::new("group").unwrap(),
        holder: holder.clone(),
        principal: holder,
        held_until: SystemClock.now(),
        returned_to: ReturnedTo::Anyone,
    }
}

/// A package that a first try of the reserve took, and gives back while the second is explained, is not gone.
#[tokio::test]
async fn what_the_reservation_has_already_may_be_free_in_a_moment() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    for device in ["laptop", "phone"] {
        fill(&mut client, "bob", device, 1).await;
        reserve_one(&mut client, "first", "bob", device).await.unwrap();
    }
    let connector = Connector::plain(server.database().config());
    let store = Store::new(connector, Arc::new(SystemClock), 1, Duration::from_secs(60)).unwrap();
    let mut session = store.session().await.unwrap();
    let now = SystemClock.now();
    let filter = ReserveFilter { now, min_not_after: now, cipher_suites: Vec::new() };
    for (reservations, takable) in
        [(["other", "another"], false), (["first", "other"], true), (["other", "first"], true)]
    {
        let wants: Vec<_> = ["laptop", "phone"]
            .iter()
            .flat_map(|device| reservations.map(|reservation| want(reservation, device)))
            .collect();
        let refs: Vec<_> = wants.iter().collect();
        let missing = session.explain_missing(&filter, &refs).await.unwrap();
        assert_eq!(missing.len(), wants.len());
        assert!(missing.iter().all(|missing| missing.seen == takable), "{reservations:?}");
    }
}
