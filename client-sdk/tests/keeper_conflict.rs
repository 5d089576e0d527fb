//! Two installs of one device, as when a phone is restored from its backup and the old one goes on.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use keypool_client::mls::{KeeperProblem, PackageState, PoolStore, Refreshed};
use support::device::Device;
use support::keeper::{DAY, HOUR, Keeper, Phone};

/// A keeper of an install of its own.
fn install<'a>(phone: &Phone, device: &'a Device) -> Keeper<'a> {
    let builder = phone.builder().store(device.store.clone());
    builder.build(&device.provider, device.credential.clone(), &device.signer)
}

/// Another install of Bob's phone.
fn other() -> Device {
    Device::new("bob", "phone")
}

fn tells(refreshed: &Refreshed) -> bool {
    let is_told = |problem: &KeeperProblem| matches!(problem, KeeperProblem::OtherInstall { .. });
    refreshed.problems.iter().any(is_told)
}

#[tokio::test]
async fn both_installs_are_told_and_do_not_fight() {
    let phone = Phone::new().await;
    let (old, other) = (phone.keeper(), other());
    let new = install(&phone, &other);
    assert!(!tells(&old.refresh().await.unwrap()));
    assert!(!tells(&new.refresh().await.unwrap()), "it may be restored");

    let mut last_resorts = BTreeSet::new();
    for round in 0..10 {
        let (first, second) = (old.refresh().await.unwrap(), new.refresh().await.unwrap());
        assert!(tells(&first) && tells(&second), "{round}: {first:?} {second:?}");
        last_resorts.insert(phone.last_resort().await);
    }

    assert_eq!(last_resorts.len(), 1, "nobody replaces what the other has uploaded");
    for keeper in [&old, &new] {
        let status = keeper.status().unwrap();
        assert!(!status.is_healthy(), "{status:?}");
        let words = status.last_error.unwrap();
        assert!(words.contains("another install"), "{words}");
    }
    let pool = phone.pool().await;
    assert_eq!((pool.available, pool.accepted), (32, 96), "each has filled it, and one again");
    phone.server.stop().await;
}

#[tokio::test]
async fn installs_that_only_live_for_a_refresh_are_told_too() {
    let phone = Phone::new().await;
    let other = other();
    let mut told = [false, false];
    for _ in 0..6 {
        told[0] |= tells(&phone.keeper().refresh().await.unwrap());
        phone.advance(HOUR / 2);
        told[1] |= tells(&install(&phone, &other).refresh().await.unwrap());
        phone.advance(HOUR / 2);
    }
    assert_eq!(told, [true, true]);
    phone.server.stop().await;
}

#[tokio::test]
async fn a_pool_is_contested_ever_less_often() {
    let phone = Phone::new().await;
    let (old, other) = (phone.keeper(), other());
    let new = install(&phone, &other);
    let mut last_resorts = BTreeSet::new();
    for _ in 0..4 * 24 {
        for keeper in [&old, &new] {
            keeper.refresh().await.unwrap();
            last_resorts.insert(phone.last_resort().await);
        }
        phone.advance(HOUR);
    }
    assert!(last_resorts.len() < 20, "{} in four days", last_resorts.len());
    phone.server.stop().await;
}

#[tokio::test]
async fn an_install_that_is_left_takes_the_pool_over_and_is_at_peace() {
    let phone = Phone::new().await;
    let (old, other) = (phone.keeper(), other());
    let new = install(&phone, &other);
    for keeper in [&old, &new, &old, &new] {
        keeper.refresh().await.unwrap();
    }
    let foreign = phone.last_resort().await;

    // The old one is switched off.
    phone.advance(HOUR);
    assert!(tells(&new.refresh().await.unwrap()));
    assert_ne!(phone.last_resort().await, foreign);
    for _ in 0..4 {
        phone.advance(DAY);
        new.refresh().await.unwrap();
    }
    assert!(new.status().unwrap().is_healthy(), "{:?}", new.status());
    assert!(other.store.records().unwrap().iter().all(|one| one.state != PackageState::Foreign));
    phone.server.stop().await;
}

#[tokio::test]
async fn a_restored_backup_is_no_other_install() {
    let phone = Phone::new().await;
    phone.keeper().refresh().await.unwrap();
    let backup = phone.back_up();
    phone.advance(13 * DAY);
    phone.keeper().refresh().await.unwrap();

    phone.restore(backup);
    let keeper = phone.keeper();
    for _ in 0..10 {
        let refreshed = keeper.refresh().await.unwrap();
        assert_eq!(refreshed.problems, []);
        assert!(!tells(&phone.keeper().refresh().await.unwrap()), "nor after a restart");
        phone.advance(HOUR * 13);
    }
    phone.check_full().await;
    phone.server.stop().await;
}

#[tokio::test]
async fn a_restart_that_forgets_everything_is_no_other_install() {
    let phone = Phone::new().await;
    for _ in 0..4 {
        let forgetful = other();
        let keeper = install(&phone, &forgetful);
        for _ in 0..3 {
            assert_eq!(keeper.refresh().await.unwrap().problems, []);
            phone.advance(HOUR);
        }
    }
    phone.server.stop().await;
}

#[tokio::test]
async fn a_lost_record_is_no_other_install() {
    let phone = Phone::new().await;
    let keeper = phone.keeper();
    for _ in 0..3 {
        assert_eq!(keeper.refresh().await.unwrap().problems, []);
        let refs: Vec<_> = phone.records().into_iter().map(|one| one.key_package_ref).collect();
        phone.device.store.forget(&refs).unwrap();
        assert_eq!(keeper.refresh().await.unwrap().problems, []);
        assert_eq!(phone.keeper().refresh().await.unwrap().problems, []);
    }
    phone.server.stop().await;
}

#[tokio::test]
async fn a_rotation_is_no_other_install_and_does_not_wait_for_one() {
    let phone = Phone::new().await;
    let (one, process) = (phone.keeper(), phone.keeper());
    one.refresh().await.unwrap();
    process.refresh().await.unwrap();
    let next = other();
    let rotated = one.rotate_credential(next.credential.clone(), &next.signer).await.unwrap();
    assert_eq!(rotated.problems, []);
    assert_eq!(one.refresh().await.unwrap().problems, []);

    let another = other();
    let new = install(&phone, &another);
    for keeper in [&new, &one, &new] {
        keeper.refresh().await.unwrap();
    }
    assert!(tells(&new.refresh().await.unwrap()));
    let last = other();
    let rotated = new.rotate_credential(last.credential.clone(), &last.signer).await.unwrap();
    assert_eq!(rotated.uploaded.len(), 33, "{rotated:?}");
    phone.server.stop().await;
}
