//! A device that stops at any point of a refresh, against a real service.
#![allow(clippy::unwrap_used)]

mod support;

use keypool_client::mls::PackageState;
use support::faulty::FaultyStore;
use support::keeper::{HOUR, Phone, interrupt};

/// The device starts again.
async fn recover(phone: &Phone) {
    if phone.client.pool_status("bob", &phone.device.device_id).await.is_ok() {
        phone.check().await;
    }
    phone.keeper().refresh().await.unwrap();
    phone.check_full().await;
    assert_eq!(phone.pool().await.revoked, 0, "nothing is wasted");

    phone.advance(HOUR);
    phone.keeper().refresh().await.unwrap();
    assert_eq!(phone.count(PackageState::Created), 0);
    assert_eq!(phone.keyed().len(), phone.records().len());
    phone.check_full().await;
}

#[tokio::test]
async fn whichever_change_of_the_record_fails_the_next_refresh_finishes() {
    let mut phone = Phone::new().await;
    let mut interrupted = 0;
    for changes in 0..4 {
        for makes_last in [false, true] {
            phone.replace_device(&format!("phone-{changes}-{makes_last}"));
            let store = FaultyStore::new(phone.device.store.clone(), changes, makes_last);
            let keeper = phone.keeper_with(phone.builder().store(store));
            interrupted += usize::from(keeper.refresh().await.is_err());
            recover(&phone).await;
        }
    }
    assert!(interrupted >= 4, "{interrupted}");
    phone.server.stop().await;
}

#[tokio::test]
async fn wherever_a_refresh_breaks_off_the_next_one_finishes() {
    let mut phone = Phone::new().await;
    let mut finished = false;
    for polls in (1..).take_while(|polls| *polls < 200) {
        phone.replace_device(&format!("phone-{polls}"));
        finished = interrupt(phone.keeper().refresh(), polls).await.is_some();
        recover(&phone).await;
        if finished {
            break;
        }
    }
    assert!(finished);
    phone.server.stop().await;
}
