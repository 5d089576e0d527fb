use super::{CONFLICT_RETRIES, DeviceKey, Session, StoreError, count, get, index, numbers};
use crate::pool::validation::ValidKeyPackage;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};
use tokio_postgres::{Row, types::ToSql};

const LOCK_DEVICES: &str = include_str!("sql/lock_devices.sql");
const DISPLACE_RETURNED: &str = include_str!("sql/displace_returned.sql");
const UPLOAD: &str = include_str!("sql/upload.sql");

/// A valid package to store.
#[derive(Debug, Clone)]
pub struct UploadItem {
    /// Whose package.
    pub device: DeviceKey,
    /// The package.
    pub package: Arc<ValidKeyPackage>,
}

/// What packages are stored by.
#[derive(Debug, Clone, Copy)]
pub struct UploadTerms {
    /// How many one-time packages of each cipher suite a device may have.
    pub cap: u32,
    /// How many bytes the packages of a user may have.
    pub max_bytes_per_user: u64,
    /// How many devices that have uploaded since a time a user may have.
    pub max_devices: u32,
    /// That time: no package of an earlier upload is valid any more.
    pub devices_since: Timestamp,
    /// The time.
    pub now: Timestamp,
    /// When the lifetime of each package must end at the earliest.
    pub min_not_after: Timestamp,
}

/// What became of a valid package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredOutcome {
    /// It is stored now.
    Accepted,
    /// It was there before.
    Present,
    /// It was there before, and is spent.
    Spent,
    /// It was there before, and is revoked.
    Revoked,
    /// Another device of the user has it.
    OtherDevice,
    /// Another package of the user has its init key.
    InitKeyReused,
    /// The pool is full.
    Full,
    /// The packages of the user have as many bytes as they may.
    OverQuota,
    /// The device is new, and its user has as many as it may.
    TooManyDevices,
    /// Another transaction has locked the device: nothing is known yet.
    Contended,
    /// By now, too little is left of its lifetime.
    Expired,
    /// Its lifetime has not begun, as the database's clock was set back.
    NotYetValid,
}

impl StoredOutcome {
    fn is_success(self) -> bool {
        matches!(self, Self::Accepted | Self::Present)
    }

    /// Whether the device was passed over, whatever the package is.
    fn is_of_the_device(self) -> bool {
        matches!(self, Self::TooManyDevices | Self::Contended)
    }
}

impl Session {
    /// Stores packages within the terms, in one transaction. Outcomes are in the items' order. No two items may have the same ref
    /// or the same init key. Devices that another transaction has locked are passed over, and
    /// new devices of a user that has too many.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe: what was stored is [`StoredOutcome::Present`] then.
    pub async fn upload(
        &mut self,
        items: &[UploadItem],
        terms: UploadTerms,
    ) -> Result<Vec<StoredOutcome>, StoreError> {
        let mut outcomes: HashMap<usize, StoredOutcome> = HashMap::new();
        let mut has_displaced = false;
        for _ in 0..=CONFLICT_RETRIES {
            let waiting: Vec<usize> =
                (0..items.len()).filter(|item| !outcomes.contains_key(item)).collect();
            if waiting.is_empty() {
                break;
            }
            let batch: Vec<&UploadItem> = waiting.iter().map(|&item| &items[item]).collect();
            // An item without an outcome raced with another device's upload of the same key, and is there to be seen now;
            // or its transaction was rolled back for another device's sake.
            for (item, outcome) in self.upload_once(&batch, terms).await? {
                outcomes.insert(waiting[item], outcome);
            }
            if !has_displaced {
                has_displaced = true;
                let full = |item: &usize| outcomes.get(item) == Some(&StoredOutcome::Full);
                let full: Vec<&UploadItem> =
                    (0..items.len()).filter(full).map(|item| &items[item]).collect();
                if self.displace_returned(&full, terms).await? > 0 {
                    outcomes.retain(|_, outcome| *outcome != StoredOutcome::Full);
                }
            }
        }
        (0..items.len())
            .map(|item| outcomes.remove(&item))
            .collect::<Option<_>>()
            .ok_or_else(|| StoreError::conflict("an upload raced with others again and again"))
    }

    /// Makes room for these packages where others fill their pools that nobody else can be handed, and returns for how many.
    async fn displace_returned(
        &mut self,
        full: &[&UploadItem],
        terms: UploadTerms,
    ) -> Result<u64, StoreError> {
        if full.is_empty() {
            return Ok(0);
        }
        let mut pools: BTreeMap<(&DeviceKey, u16), i64> = BTreeMap::new();
        for item in full {
            *pools.entry((&item.device, item.package.cipher_suite.0)).or_default() += 1;
        }
        let device = |of: fn(&DeviceKey) -> &str| {
            pools.keys().map(|(device, _)| of(device)).collect::<Vec<_>>()
        };
        let bucket: Vec<_> = pools.keys().map(|(device, _)| device.bucket.number()).collect();
        let suite: Vec<i32> = pools.keys().map(|(_, suite)| i32::from(*suite)).collect();
        let packages: Vec<i64> = pools.values().copied().collect();
        let rows = self
            .rows(
                DISPLACE_RETURNED,
                &[
                    /* bucket */ &bucket,
                    /* user_id */ &device(|device| device.user.as_str()),
                    /* device_id */ &device(|device| device.device.as_str()),
                    /* cipher_suite */ &suite,
                    /* packages */ &packages,
                    /* now */ &terms.now,
                    /* cap */ &i64::from(terms.cap),
                ],
            )
            .await?;
        rows.first().map_or(Ok(0), |row| count(row, "packages"))
    }

    async fn upload_once(
        &mut self,
        items: &[&UploadItem],
        terms: UploadTerms,
    ) -> Result<Vec<(usize, StoredOutcome)>, StoreError> {
        let devices: BTreeSet<&DeviceKey> = items.iter().map(|item| &item.device).collect();
        let bucket: Vec<_> = devices.iter().map(|device| device.bucket.number()).collect();
        let user: Vec<_> = devices.iter().map(|device| device.user.as_str()).collect();
        let device: Vec<_> = devices.iter().map(|device| device.device.as_str()).collect();
        let columns = Columns::of(items);
        let UploadTerms { cap, max_bytes_per_user, max_devices, devices_since, now, min_not_after } =
            terms;
        let (cap, max_devices) = (i64::from(cap), i64::from(max_devices));
        let max_bytes = i64::try_from(max_bytes_per_user).unwrap_or(i64::MAX);

        let judge = |rows: Vec<Row>| {
            let mut outcomes = rows
                .iter()
                .filter_map(|row| match outcome(row) {
                    Ok(Some(outcome)) => Some(index(row, "item").map(|item| (item, outcome))),
                    Ok(None) => None,
                    Err(error) => Some(Err(error)),
                })
                .collect::<Result<Vec<_>, _>>()?;
            let devices_with = |which: fn(StoredOutcome) -> bool| -> HashSet<&DeviceKey> {
                let outcomes = outcomes.iter().filter(|(_, outcome)| which(*outcome));
                outcomes.map(|(item, _)| &items[*item].device).collect()
            };
            let served = devices_with(StoredOutcome::is_success);
            let passed_over = devices_with(StoredOutcome::is_of_the_device);
            // A device of which nothing was taken has not uploaded: it must not become known. The others try without it.
            let keep = served.len() + passed_over.len() == devices.len();
            if !keep {
                outcomes.retain(|(item, _)| !served.contains(&items[*item].device));
            }
            Ok((keep, outcomes))
        };
        // Two statements, so that the second sees what the upload before it has added.
        self.transaction(
            (LOCK_DEVICES, &[&bucket, &user, &device, &now, &max_devices, &devices_since]),
            (UPLOAD, &columns.params(&now, &cap, &min_not_after, &max_bytes)),
            judge,
        )
        .await
    }
}

fn outcome(row: &Row) -> Result<Option<StoredOutcome>, StoreError> {
    Ok(Some(match get::<&str>(row, "outcome")? {
        "accepted" => StoredOutcome::Accepted,
        "present" => StoredOutcome::Present,
        "spent" => StoredOutcome::Spent,
        "revoked" => StoredOutcome::Revoked,
        "other_device" => StoredOutcome::OtherDevice,
        "init_key_reused" => StoredOutcome::InitKeyReused,
        "full" => StoredOutcome::Full,
        "over_quota" => StoredOutcome::OverQuota,
        "too_many_devices" => StoredOutcome::TooManyDevices,
        "locked" => StoredOutcome::Contended,
        "expired" => StoredOutcome::Expired,
        "not_yet_valid" => StoredOutcome::NotYetValid,
        "raced" => return Ok(None),
        other => return Err(StoreError::internal(format!("unknown outcome {other}"))),
    }))
}

/// The packages as columns, one element for each.
struct Columns<'a> {
    item: Vec<i32>,
    bucket: Vec<i16>,
    user: Vec<&'a str>,
    device: Vec<&'a str>,
    reference: Vec<&'a [u8]>,
    cipher_suite: Vec<i32>,
    last_resort: Vec<bool>,
    not_before: Vec<Timestamp>,
    not_after: Vec<Timestamp>,
    init_key: Vec<&'a [u8]>,
    credential: Vec<&'a [u8]>,
    signature_key: Vec<&'a [u8]>,
    key_package: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(items: &[&'a UploadItem]) -> Self {
        let bytes = |of: fn(&'a ValidKeyPackage) -> &'a [u8]| {
            items.iter().map(|item| of(&item.package)).collect::<Vec<_>>()
        };
        Self {
            item: numbers(items.len()),
            bucket: items.iter().map(|item| item.device.bucket.number()).collect(),
            user: items.iter().map(|item| item.device.user.as_str()).collect(),
            device: items.iter().map(|item| item.device.device.as_str()).collect(),
            reference: bytes(|package| package.reference.as_bytes()),
            cipher_suite: items.iter().map(|item| item.package.cipher_suite.0.into()).collect(),
            last_resort: items.iter().map(|item| item.package.last_resort).collect(),
            not_before: items.iter().map(|item| item.package.not_before).collect(),
            not_after: items.iter().map(|item| item.package.not_after).collect(),
            init_key: bytes(|package| &package.init_key),
            credential: bytes(|package| &package.credential),
            signature_key: bytes(|package| &package.signature_key),
            key_package: bytes(|package| &package.bytes),
        }
    }

    fn params<'p>(
        &'p self,
        now: &'p Timestamp,
        cap: &'p i64,
        min_not_after: &'p Timestamp,
        max_bytes: &'p i64,
    ) -> [&'p (dyn ToSql + Sync); 17] {
        [
            &self.item,
            &self.bucket,
            &self.user,
            &self.device,
            &self.reference,
            &self.cipher_suite,
            &self.last_resort,
            &self.not_before,
            &self.not_after,
            &self.init_key,
            &self.credential,
            &self.signature_key,
            &self.key_package,
            now,
            cap,
            min_not_after,
            max_bytes,
        ]
    }
}
