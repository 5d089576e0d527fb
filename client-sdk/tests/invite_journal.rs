//! What every journal of invites promises.
#![allow(clippy::unwrap_used)]

use keypool_client::mls::{InviteJournal, InviteRecord, MemoryJournal};
use serde_json::json;

/// A record as an earlier version of the crate has stored it.
fn record(group_id: u8, stage: serde_json::Value) -> InviteRecord {
    // In protobuf: the reservation id "r" and the group id.
    let request = [10, 1, b'r', 18, 1, group_id];
    serde_json::from_value(json!({ "request": request, "epoch": 3, "stage": stage })).unwrap()
}

fn reserving(group_id: u8) -> InviteRecord {
    record(group_id, json!({ "Reserving": { "held": [], "spent": false } }))
}

fn spending(group_id: u8) -> InviteRecord {
    let name = json!({ "user_id": "bob", "device_id": "phone", "key_package_ref": [7] });
    let invite = json!({ "commit": [1], "welcome": [2], "group_info": null, "added": [name] });
    record(group_id, json!({ "Spending": invite }))
}

/// Leaves one record behind, of group 2.
fn keeps_its_promises(journal: &dyn InviteJournal) {
    assert_eq!(journal.load(&[1]).unwrap(), None);
    journal.remove(&[1]).unwrap();

    journal.save(&reserving(1)).unwrap();
    journal.save(&reserving(2)).unwrap();
    assert_eq!(journal.load(&[1]).unwrap(), Some(reserving(1)));
    assert_eq!(journal.load(&[1]).unwrap().unwrap().group_id(), [1]);

    journal.save(&spending(1)).unwrap();
    assert_eq!(journal.load(&[1]).unwrap(), Some(spending(1)), "one for each group");
    assert_eq!(journal.load(&[2]).unwrap(), Some(reserving(2)));

    journal.remove(&[1]).unwrap();
    assert_eq!(journal.load(&[1]).unwrap(), None);
    assert_eq!(journal.load(&[2]).unwrap(), Some(reserving(2)));
}

#[test]
fn in_memory() {
    keeps_its_promises(&MemoryJournal::default());
}

#[cfg(feature = "sqlite")]
#[test]
fn in_sqlite_also_for_the_next_process() {
    use keypool_client::mls::SqliteInviteJournal;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal.sqlite");
    keeps_its_promises(&SqliteInviteJournal::open(&file).unwrap());
    let reopened = SqliteInviteJournal::open(&file).unwrap();
    assert_eq!(reopened.load(&[2]).unwrap(), Some(reserving(2)));
}
