//! What becomes of packages and their private keys, against a real service.
#![allow(clippy::unwrap_used)]

mod support;

use keypool_client::Revoke;
use keypool_client::mls::PackageState::{self, Expired, Revoked, Spent};
use support::device::Device;
use support::keeper::{DAY, HOUR, Phone, interrupt};

#[tokio::test]
async fn a_spent_package_keeps_its_private_keys_for_a_late_welcome() {
    let phone = Phone::new().await;
    let keeper = phone.keeper();
    keeper.refresh().await.unwrap();
    let spent = phone.invite("group", true).await;

    phone.advance(DAY);
    keeper.refresh().await.unwrap();
    assert_eq!(phone.record(&spent).state, Spent);
    assert!(phone.has_key(&spent));

    phone.advance(13 * DAY + 29 * DAY);
    keeper.refresh().await.unwrap();
    assert!(phone.has_key(&spent));

    phone.advance(DAY);
    let refreshed = keeper.refresh().await.unwrap();
    assert!(refreshed.deleted.contains(&spent));
    assert!(!phone.has_key(&spent));
    assert!(phone.records().iter().all(|record| record.key_package_ref != spent));
    phone.check_full().await;
    phone.server.stop().await;
}

#[tokio::test]
async fn a_package_that_was_spent_just_before_its_end_is_not_taken_for_expired() {
    let phone = Phone::new().await;
    let keeper = phone.keeper();
    keeper.refresh().await.unwrap();
    phone.advance(13 * DAY);
    let (spent, last_resort) = (phone.invite("group", true).await, phone.last_resort().await);

    phone.advance(DAY + HOUR);
    let refreshed = keeper.refresh().await.unwrap();

    assert_eq!(refreshed.deleted.len(), 31, "expired unspent");
    assert!(phone.has_key(&spent));
    assert_eq!(phone.count(Expired), 31 + 1);
    assert!(phone.has_key(&last_resort), "it may have been used at the last moment");
    phone.check_full().await;

    phone.advance(DAY);
    keeper.refresh().await.unwrap();
    assert!(!phone.has_key(&last_resort));
    phone.advance(DAY);
    keeper.refresh().await.unwrap();
    assert_eq!(phone.count(Expired), 0, "forgotten");
    phone.server.stop().await;
}

#[tokio::test]
async fn what_expires_soon_is_replaced_and_nothing_grows_for_ever() {
    let phone = Phone::new().await;
    let keeper = phone.keeper();
    keeper.refresh().await.unwrap();
    for day in 0..120 {
        phone.advance(DAY);
        keeper.refresh().await.unwrap();
        phone.invite(&format!("group {day}"), true).await;
    }
    phone.check().await;
    let records = phone.records().len();
    assert!(records < 64 + 3 + 50, "{:?}", phone.states());
    let pool = phone.pool().await;
    assert!(pool.available - pool.expiring_soon >= 30, "{pool:?}");
    phone.server.stop().await;
}

#[tokio::test]
async fn a_used_last_resort_is_replaced_and_its_private_keys_stay_for_the_grace() {
    let phone = Phone::new().await;
    let keeper = phone.keeper();
    keeper.refresh().await.unwrap();
    let used = phone.last_resort().await;
    let one_time = phone.keyed().into_iter().filter(|one| *one != used).collect();
    phone.client.revoke("bob", Some("phone"), Revoke::Refs(one_time)).await.unwrap();
    assert_eq!(phone.invite("group", true).await, used);

    keeper.refresh().await.unwrap();
    assert_eq!(phone.last_resort().await, used, "too young to be replaced");

    phone.advance(HOUR);
    keeper.refresh().await.unwrap();
    assert_ne!(phone.last_resort().await, used);
    assert_eq!(phone.record(&used).state, Revoked);

    phone.advance(DAY - HOUR);
    keeper.refresh().await.unwrap();
    assert!(phone.has_key(&used));
    phone.advance(HOUR);
    keeper.refresh().await.unwrap();
    assert!(!phone.has_key(&used));
    phone.check_full().await;
    phone.server.stop().await;
}

#[tokio::test]
async fn packages_that_an_invite_holds_are_known_as_reserved() {
    let phone = Phone::new().await;
    let keeper = phone.keeper();
    keeper.refresh().await.unwrap();
    let held = phone.invite("group", false).await;

    phone.keeper().refresh().await.unwrap();
    assert_eq!(phone.record(&held).state, PackageState::Reserved);
    assert_eq!(phone.count(PackageState::Available), 32);

    phone.advance(DAY);
    keeper.refresh().await.unwrap();
    assert_eq!(phone.record(&held).state, PackageState::Available, "the hold lapsed");
    phone.server.stop().await;
}

#[tokio::test]
async fn two_keepers_of_one_device_do_no_harm() {
    let phone = Phone::new().await;
    let (one, other) = (phone.keeper(), phone.keeper());
    for round in 0..8 {
        let (first, second) = tokio::join!(one.refresh(), other.refresh());
        for refreshed in [first.unwrap(), second.unwrap()] {
            assert_eq!(refreshed.problems, [], "{round}");
        }
        phone.check().await;
        for invite in 0..4 {
            phone.invite(&format!("group {round}/{invite}"), true).await;
        }
        phone.advance(DAY);
    }
    one.refresh().await.unwrap();
    other.refresh().await.unwrap();
    phone.check_full().await;
    phone.server.stop().await;
}

#[tokio::test]
async fn an_older_backup_of_the_device_is_put_right() {
    let phone = Phone::new().await;
    let keeper = phone.keeper();
    keeper.refresh().await.unwrap();
    let backup = phone.back_up();
    let spent = phone.invite("group", true).await;
    let revoked = phone.invite("another group", false).await;
    let which = Revoke::Refs(vec![revoked.clone()]);
    phone.client.revoke("bob", Some("phone"), which).await.unwrap();
    phone.advance(13 * DAY);
    let newer = keeper.refresh().await.unwrap().uploaded;
    assert!(newer.len() > 30);

    phone.restore(backup);
    let refreshed = phone.keeper().refresh().await.unwrap();

    assert!(newer.iter().all(|one| refreshed.revoked.contains(one)), "their keys are gone");
    assert_eq!(phone.record(&spent).state, Spent);
    assert_eq!(phone.record(&revoked).state, Revoked);
    phone.check_full().await;
    phone.server.stop().await;
}

#[tokio::test]
async fn a_lost_record_costs_the_pool_and_leaves_no_private_keys() {
    let phone = Phone::new().await;
    phone.keeper().refresh().await.unwrap();
    let before = phone.keyed();
    let mut backup = phone.back_up();
    backup.records.clear();

    phone.restore(backup);
    let keeper = phone.keeper();
    let refreshed = keeper.refresh().await.unwrap();

    assert_eq!(refreshed.revoked.len(), 33);
    assert!(before.iter().all(|one| phone.has_key(one)), "for invites under way");
    phone.check_full().await;
    phone.advance(DAY);
    keeper.refresh().await.unwrap();
    assert!(before.iter().all(|one| !phone.has_key(one)));
    phone.check_full().await;
    phone.server.stop().await;
}

#[tokio::test]
async fn a_new_credential_replaces_the_old_ones_packages() {
    let phone = Phone::new().await;
    let keeper = phone.keeper();
    keeper.refresh().await.unwrap();
    let (old, old_last_resort) = (phone.keyed(), phone.last_resort().await);
    let mut held = phone.client.reserve(b"group").user("bob").send().await.unwrap();

    let next = Device::new("bob", "phone");
    let refreshed = keeper.rotate_credential(next.credential.clone(), &next.signer).await.unwrap();

    let is_gone = |one: &Vec<u8>| refreshed.revoked.contains(one) || *one == old_last_resort;
    assert!(old.iter().all(is_gone));
    assert!(old.iter().all(|one| phone.record(one).state == Revoked && phone.has_key(one)));
    assert!(old.iter().all(|one| !refreshed.uploaded.contains(one)));
    assert_eq!(refreshed.uploaded.len(), 33);
    phone.check_full().await;
    held.spend().await.expect("an invite under way may finish");
    let spent = held.packages()[0].name.key_package_ref.clone();

    phone.advance(DAY);
    keeper.refresh().await.unwrap();
    assert!(phone.has_key(&spent), "its Welcome is still to come");
    assert_eq!(old.iter().filter(|one| phone.has_key(one)).count(), 1);
    assert_eq!(phone.record(&spent).state, Spent);
    phone.check_full().await;
    phone.server.stop().await;
}

#[tokio::test]
async fn a_rotation_fits_under_the_cap() {
    let phone = Phone::new().await;
    let one = phone.keeper();
    one.refresh().await.unwrap();
    let mut held = Vec::new();
    for number in 0..20 {
        let group = format!("group {number}");
        held.push(phone.client.reserve(group.as_bytes()).user("bob").send().await.unwrap());
    }
    one.refresh().await.unwrap();
    for reservation in held {
        reservation.release().await.unwrap();
    }
    let before = phone.pool().await;
    assert!(before.available > 32, "{before:?}");

    let next = Device::new("bob", "phone");
    one.rotate_credential(next.credential.clone(), &next.signer).await.unwrap();

    phone.check_full().await;
    let pool = phone.pool().await;
    assert_eq!((pool.available, pool.revoked), (32, before.available));
    phone.server.stop().await;
}

#[tokio::test]
async fn an_interrupted_rotation_is_finished_by_the_next_refresh() {
    let mut phone = Phone::new().await;
    let mut finished = false;
    for polls in (1..).take_while(|polls| *polls < 200) {
        phone.replace_device(&format!("phone-{polls}"));
        phone.keeper().refresh().await.unwrap();
        let old = phone.keyed();
        let next = Device::new("bob", &phone.device.device_id);
        let keeper = phone.keeper();
        let rotation = keeper.rotate_credential(next.credential.clone(), &next.signer);
        finished = interrupt(rotation, polls).await.is_some();
        phone.check().await;

        let started_again =
            phone.builder().build(&phone.device.provider, next.credential.clone(), &next.signer);
        started_again.refresh().await.unwrap();
        phone.check_full().await;
        let pool = phone.pool().await;
        assert_eq!(pool.revoked, 32, "after {polls}: {pool:?}");
        assert!(old.iter().all(|one| phone.record(one).state == Revoked), "after {polls}");
        if finished {
            break;
        }
    }
    assert!(finished);
    phone.server.stop().await;
}
