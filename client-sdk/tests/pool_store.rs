//! What every store of a keeper promises.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use keypool_client::RejectionReason;
use keypool_client::mls::{MemoryPoolStore, PackageState, PoolRecord, PoolStore};

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn record(key_package_ref: u8) -> PoolRecord {
    let (created_at, not_after) = (time(1_700_000_000), time(1_800_000_000));
    PoolRecord::new(vec![key_package_ref; 32], 1, false, vec![7; 32], created_at, not_after)
}

/// With everything set.
fn full_record(key_package_ref: u8) -> PoolRecord {
    let mut record = record(key_package_ref);
    record.cipher_suite = u16::MAX;
    record.last_resort = true;
    record.state = PackageState::Failed;
    record.rejection = Some(RejectionReason::PoolFull);
    record.uploaded_at = Some(time(1_700_000_001));
    record.changed_at = time(1_700_000_002);
    record
}

fn sorted(store: &impl PoolStore) -> Vec<PoolRecord> {
    let records = store.records().unwrap().into_iter();
    let by_ref: BTreeMap<_, _> = records.map(|one| (one.key_package_ref.clone(), one)).collect();
    by_ref.into_values().collect()
}

/// Leaves two records behind: [`left_behind`].
fn keeps_its_promises(store: &impl PoolStore) {
    assert_eq!(sorted(store), []);
    store.put(&[]).unwrap();
    store.forget(&[]).unwrap();
    store.forget(&[vec![9; 32]]).unwrap();
    assert_eq!(sorted(store), []);

    store.put(&[record(1), full_record(2), record(3)]).unwrap();
    assert_eq!(sorted(store), [record(1), full_record(2), record(3)]);

    for state in PackageState::ALL {
        let mut changed = record(1);
        changed.state = state;
        store.put(std::slice::from_ref(&changed)).unwrap();
        assert_eq!(sorted(store), [changed, full_record(2), record(3)]);
    }
    store.put(&[record(2), record(1)]).unwrap();
    assert_eq!(sorted(store), [record(1), record(2), record(3)], "what was set is unset");

    store.forget(&[vec![1; 32], vec![9; 32], vec![3; 32]]).unwrap();
    assert_eq!(sorted(store), [record(2)]);
    store.put(&[full_record(4)]).unwrap();
    assert_eq!(sorted(store), left_behind());
}

fn left_behind() -> Vec<PoolRecord> {
    vec![record(2), full_record(4)]
}

#[test]
fn memory() {
    keeps_its_promises(&MemoryPoolStore::default());
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::sync::{Arc, Mutex};

    use keypool_client::mls::SqlitePoolStore;
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.sqlite");
        keeps_its_promises(&SqlitePoolStore::open(&path, "bob", "phone").unwrap());
        let store = SqlitePoolStore::open(&path, "bob", "phone").unwrap();
        assert_eq!(sorted(&store), left_behind(), "across a restart");
    }

    #[test]
    fn a_connection_of_the_application() {
        let connection = Arc::new(Mutex::new(Connection::open_in_memory().unwrap()));
        let store = SqlitePoolStore::with_connection(connection.clone(), "bob", "phone").unwrap();
        keeps_its_promises(&store);
        let tables: Vec<String> = connection
            .lock()
            .unwrap()
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
            .unwrap()
            .query_map((), |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(tables.iter().all(|name| name.starts_with("keypool_")), "{tables:?}");
    }

    #[test]
    fn devices_are_kept_apart() {
        let connection = Arc::new(Mutex::new(Connection::open_in_memory().unwrap()));
        let open = |user: &str, device: &str| {
            SqlitePoolStore::with_connection(connection.clone(), user, device).unwrap()
        };
        for (user, device) in [("bob", "phone"), ("bob", "tablet"), ("carol", "phone")] {
            keeps_its_promises(&open(user, device));
        }
        open("bob", "phone").forget(&[vec![2; 32], vec![4; 32]]).unwrap();
        assert_eq!(sorted(&open("bob", "phone")), []);
        assert_eq!(sorted(&open("bob", "tablet")), left_behind());
    }

    #[test]
    fn processes_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.sqlite");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    let store = SqlitePoolStore::open(path, "bob", "phone").unwrap();
                    for number in 0..16 {
                        store.put(&[record(writer * 16 + number)]).unwrap();
                    }
                });
            }
        });
        let store = SqlitePoolStore::open(&path, "bob", "phone").unwrap();
        assert_eq!(sorted(&store).len(), 64);
    }

    #[test]
    fn a_later_versions_file_is_refused() {
        let connection = Arc::new(Mutex::new(Connection::open_in_memory().unwrap()));
        let open = || SqlitePoolStore::with_connection(connection.clone(), "bob", "phone");
        open().unwrap();
        let newer = "UPDATE keypool_schema SET version = 1000";
        connection.lock().unwrap().execute(newer, ()).unwrap();
        assert!(open().unwrap_err().to_string().contains("1000"));
    }
}
