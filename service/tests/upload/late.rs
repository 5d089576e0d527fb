//! A package is judged when it is stored, however long ago it was validated.

use jiff::{SignedDuration, Timestamp};
use keypool_service::{
    clock::{Clock, SystemClock},
    pool::validation::{ValidationPolicy, validate},
    store::{
        Bucketful, Connector, DeviceKey, Store, StoredOutcome, SweepTerms, UploadItem, UploadTerms,
        migrate,
    },
    testing::{database::TestDatabase, packages::PackageMaker},
    types::{DeviceId, UserId},
};
use std::{sync::Arc, time::Duration};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The tables, and a package that is valid now and ends in an hour.
async fn waiting(database: &TestDatabase) -> (Store, UploadItem, Timestamp) {
    let connector = Connector::plain(database.config());
    migrate(&connector, None).await.unwrap();
    let store = Store::new(connector, Arc::new(SystemClock), 1, Duration::from_secs(30)).unwrap();

    let now = Timestamp::from_second(SystemClock.now().as_second()).unwrap();
    let bytes = PackageMaker::new("bob", "phone").lifetime(now - HOUR, now + HOUR).make();
    let (user, device) = (UserId::new("bob").unwrap(), DeviceId::new("phone").unwrap());
    let package = validate(&bytes, &user, &device, &ValidationPolicy::default(), now).unwrap();
    let item = UploadItem { device: DeviceKey::new(user, device), package: Arc::new(package) };
    (store, item, now + HOUR)
}

async fn stored(store: &Store, item: &UploadItem, now: Timestamp) -> StoredOutcome {
    let min_not_after = now + 10 * SECOND;
    let terms = UploadTerms {
        cap: 64,
        max_bytes_per_user: 1 << 20,
        max_devices: 100,
        devices_since: now,
        now,
        min_not_after,
    };
    let mut session = store.session().await.unwrap();
    session.upload(std::slice::from_ref(item), terms).await.unwrap()[0]
}

#[tokio::test]
async fn what_waited_too_long_is_not_stored() {
    let database = TestDatabase::create().await;
    let (store, item, end) = waiting(&database).await;
    for (now, outcome) in [
        (end + HOUR, StoredOutcome::Expired),
        (end, StoredOutcome::Expired),
        (end - 9 * SECOND, StoredOutcome::Expired),
        (end - 3 * HOUR, StoredOutcome::NotYetValid),
        (end - 10 * SECOND, StoredOutcome::Accepted),
        (end + HOUR, StoredOutcome::Present),
    ] {
        assert_eq!(stored(&store, &item, now).await, outcome, "{}", now.duration_since(end));
    }
}

#[tokio::test]
async fn no_package_comes_back_whose_tombstone_is_gone() {
    // As short as the configuration allows, and an upload that takes as long as a statement may.
    let [keep_expired, longest_statement] = [30 * SECOND, 12 * SECOND];
    let database = TestDatabase::create().await;
    let (store, item, end) = waiting(&database).await;
    assert_eq!(stored(&store, &item, end - HOUR).await, StoredOutcome::Accepted);
    let mut purged = 0;
    let mut swept = end;
    while purged == 0 {
        swept += SECOND;
        let expired_before = swept - keep_expired;
        let terms = SweepTerms { spent_before: end, expired_before, logged_before: end };
        for buckets in Bucketful::all(64) {
            purged += store.purge(&buckets, terms).await.unwrap().key_packages;
        }
    }
    for began in [swept - longest_statement, swept, swept + HOUR] {
        assert_eq!(stored(&store, &item, began).await, StoredOutcome::Expired);
    }
}
