//! Devices, which fill their pools and watch them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keypool_client::Client;
use keypool_client::proto::v1::DevicePoolStatus;
use keypool_service::pool::DeviceStatus;
use keypool_service::testing::model::Owner;
use tokio::time::{Instant, sleep};

use crate::database::Database;
use crate::pools::signature;
use crate::simulation::{Scenario, TICK, TIMEOUT, client};
use crate::stock;

/// The latest status that a watcher was told.
type Latest = Arc<Mutex<Option<DevicePoolStatus>>>;

/// Uploads a few packages now and then; in the end its watch must have told it how things are.
pub(crate) async fn run(
    owner: Owner,
    database: Database,
    scenario: Scenario,
    mut random: fastrand::Rng,
) -> turmoil::Result {
    let client = client(&mut random).connect_lazy()?;
    let latest = Latest::default();
    let watching = tokio::spawn(watch(client.clone(), owner.clone(), latest.clone()));
    let mut packages = stock::of(&owner).into_iter();
    let mut open: Vec<_> = packages.by_ref().take(random.usize(2..6)).collect();
    loop {
        let healed = database.now().healed;
        if upload(&client, &owner, &open, &database).await {
            open = packages.by_ref().take(random.usize(0..3)).collect();
        }
        if healed && open.is_empty() {
            break;
        }
        sleep(Duration::from_millis(random.u64(0..1500))).await;
    }
    database.now().quiet();
    while !database.now().all_quiet() {
        sleep(TICK).await;
    }
    let start = Instant::now();
    while !is_up_to_date(&owner, &latest, &database) {
        if start.elapsed() > scenario.tells_within() {
            let latest = latest.lock().unwrap();
            let now = DeviceStatus::from(database.now().model.status_of(&owner));
            let what = format!("{owner:?} was last told {latest:?}, it is {now:?}");
            database.now().violated(what);
            break;
        }
        sleep(TICK).await;
    }
    watching.abort();
    Ok(())
}

/// Returns whether they are in the pool, or will never be.
async fn upload(
    client: &Client,
    owner: &Owner,
    packages: &[&'static keypool_service::testing::model::Facts],
    database: &Database,
) -> bool {
    if packages.is_empty() {
        return true;
    }
    let bytes = packages.iter().map(|one| one.bytes.clone()).collect();
    let start = Instant::now();
    let uploaded = client.upload(owner.user.as_str(), owner.device.as_str(), bytes).await;
    let mut state = database.now();
    if start.elapsed() > TIMEOUT + TICK {
        state.violated(format!("an upload took {:?}", start.elapsed()));
    }
    match &uploaded {
        Ok(_) => state.told.done += 1,
        Err(_) => state.told.failed += 1,
    }
    let known = state.model.known_refs(owner);
    let stored = packages.iter().all(|one| known.contains(&one.reference));
    if uploaded.is_ok() && !stored {
        state.violated(format!("{owner:?} was told that its packages are stored: they are not"));
    }
    uploaded.is_ok()
}

async fn watch(client: Client, owner: Owner, latest: Latest) {
    let mut watch = client.watch_pool(owner.user.as_str(), owner.device.as_str());
    while let Ok(status) = watch.next().await {
        *latest.lock().unwrap() = Some(status);
    }
}

/// Whether the watcher knows what it is to be told about.
fn is_up_to_date(owner: &Owner, latest: &Latest, database: &Database) -> bool {
    let latest = latest.lock().unwrap();
    let Some(latest) = latest.as_ref() else { return false };
    let now = DeviceStatus::from(database.now().model.status_of(owner));
    let now = signature(&now);
    let told = latest.pools.iter().map(|pool| {
        let last_resort = pool.last_resort.as_ref();
        let used = last_resort.map(|one| (one.key_package_ref.clone(), one.use_count));
        (pool.cipher_suite, pool.spent, used)
    });
    let is = now.iter().map(|(suite, _, spent, used)| {
        let used = used.as_ref().map(|(reference, uses)| (reference.as_bytes().to_vec(), *uses));
        (u32::from(suite.0), *spent, used)
    });
    told.eq(is)
}
