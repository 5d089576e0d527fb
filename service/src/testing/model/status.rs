use super::{Model, Owner, Package, State};
use crate::{
    pool::{CipherSuiteStatus, DeviceStatus, Health, UnusableReport},
    store::{LastResortRow, PoolRow},
    types::{CipherSuite, DeviceId, KeyPackageRef, UserId},
};
use jiff::Timestamp;
use std::cmp::Reverse;

/// A device's pools, in a form that can be compared.
#[derive(Debug, PartialEq)]
pub struct Status {
    owner: Owner,
    health: Health,
    last_upload_at: Option<Timestamp>,
    pools: Vec<Counts>,
    /// When and what, newest first.
    unusable: Vec<(Timestamp, KeyPackageRef, i16)>,
    read_at: Timestamp,
}

#[derive(Debug, PartialEq)]
struct Counts {
    suite: CipherSuite,
    accepted: u64,
    available: u64,
    reserved: u64,
    spent: u64,
    expired: u64,
    revoked: u64,
    purged: u64,
    quarantined: u64,
    returned: u64,
    unspent: u64,
    expiring_soon: u64,
    last_resort: Option<LastResort>,
    health: Health,
    recommended_upload_count: u32,
    /// Something is to be done.
    action: bool,
}

#[derive(Debug, PartialEq)]
struct LastResort {
    reference: KeyPackageRef,
    not_after: Timestamp,
    uploaded_at: Timestamp,
    uses: u64,
}

const MOST_UNUSABLE: usize = 10;

impl Model {
    /// The state of a user's devices, or of one; none if there is none.
    pub fn status(&self, user: &UserId, device: Option<&DeviceId>) -> Vec<Status> {
        let owners = self.devices.keys().filter(|owner| owner.user == *user);
        let owners = owners.filter(|owner| device.is_none_or(|device| owner.device == *device));
        owners.map(|owner| self.status_of(owner)).collect()
    }

    /// The state of a device, empty if it is unknown.
    pub fn status_of(&self, owner: &Owner) -> Status {
        let suites = self.books.keys().filter(|(of, _)| of == owner).map(|(_, suite)| *suite);
        let pools: Vec<Counts> = suites.map(|suite| self.counts(owner, suite)).collect();
        let reports = self.log.iter().filter(|entry| entry.owner == *owner).filter_map(|entry| {
            let reported_at = entry.released_at.unwrap_or(entry.logged_at);
            Some((reported_at, entry.reference.clone(), entry.unusable_reason?))
        });
        let mut unusable: Vec<_> = reports.collect();
        unusable.sort_by_key(|(at, reference, _)| (Reverse(*at), reference.clone()));
        unusable.truncate(MOST_UNUSABLE);
        Status {
            owner: owner.clone(),
            health: pools.iter().map(|pool| pool.health).min().unwrap_or(Health::Empty),
            last_upload_at: self.devices.get(owner).copied(),
            pools,
            unusable,
            read_at: self.now,
        }
    }

    fn counts(&self, owner: &Owner, suite: CipherSuite) -> Counts {
        let now = self.now;
        let books = &self.books[&(owner.clone(), suite)];
        let count = |is: &dyn Fn(&Package) -> bool| {
            let packages = self.of(owner).filter(|one| one.facts.suite == suite);
            packages.filter(|one| !one.facts.last_resort && is(one)).count() as u64
        };
        let soon = now + self.policy.expiring_soon;
        let available = count(&|one| one.available(now));
        let reserved = count(&|one| one.held(now));
        let quarantined = count(&|one| one.quarantined(now));
        let returned = count(&|one| one.returned(now));
        let expiring_soon = count(&|one| one.available(now) && one.facts.not_after <= soon);
        let spent = self
            .log
            .iter()
            .filter(|entry| entry.owner == *owner && entry.suite == suite && !entry.last_resort);
        let (spent, unspent): (Vec<_>, Vec<_>) = spent.partition(|entry| entry.spent_at.is_some());
        let last_resort = self.last_resort(owner, suite);
        let health = match available {
            0 => Health::Empty,
            few if few < u64::from(self.policy.low_watermark) => Health::Low,
            _ => Health::Healthy,
        };
        let wanted = u64::from(self.policy.target).saturating_sub(available - expiring_soon);
        let cap = u64::from(self.policy.cap);
        let stored = available + reserved + quarantined;
        let room = cap.saturating_sub(stored);
        Counts {
            suite,
            accepted: books.accepted,
            available,
            reserved,
            spent: spent.len() as u64,
            expired: count(&|one| matches!(one.state, State::Pooled(_)) && one.expired(now)),
            revoked: count(&Package::revoked),
            purged: books.purged,
            quarantined,
            returned,
            unspent: unspent.len().min(1000) as u64,
            expiring_soon,
            action: quarantined > 0
                || health != Health::Healthy
                || expiring_soon > 0
                || last_resort.as_ref().is_none_or(|one| one.uses > 0),
            last_resort,
            health,
            recommended_upload_count: u32::try_from(wanted.min(room)).unwrap(),
        }
    }

    fn last_resort(&self, owner: &Owner, suite: CipherSuite) -> Option<LastResort> {
        let package = self
            .of(owner)
            .find(|one| one.facts.suite == suite && one.current_last_resort(self.now))?;
        let reference = &package.facts.reference;
        let uses = self
            .log
            .iter()
            .filter(|entry| entry.reference == *reference && entry.released_at.is_none());
        Some(LastResort {
            reference: reference.clone(),
            not_after: package.facts.not_after,
            uploaded_at: package.uploaded_at,
            uses: uses.count() as u64,
        })
    }
}

impl From<DeviceStatus> for Status {
    fn from(real: DeviceStatus) -> Self {
        let unusable = real.unusable.into_iter();
        Self {
            owner: Owner { user: real.user, device: real.device },
            health: real.health,
            last_upload_at: real.last_upload_at,
            pools: real.pools.into_iter().map(Counts::from).collect(),
            unusable: unusable.map(|one| (one.reported_at, one.reference, one.reason)).collect(),
            read_at: real.read_at,
        }
    }
}

impl From<CipherSuiteStatus> for Counts {
    fn from(real: CipherSuiteStatus) -> Self {
        let counts = real.counts;
        Self {
            suite: counts.cipher_suite,
            accepted: counts.accepted,
            available: counts.available,
            reserved: counts.reserved,
            spent: counts.spent,
            expired: counts.expired,
            revoked: counts.revoked,
            purged: counts.purged,
            quarantined: counts.quarantined,
            returned: counts.returned,
            unspent: counts.unspent,
            expiring_soon: counts.expiring_soon,
            last_resort: counts.last_resort.map(|one| LastResort {
                reference: one.reference,
                not_after: one.not_after,
                uploaded_at: one.uploaded_at,
                uses: one.uses,
            }),
            health: real.health,
            recommended_upload_count: real.recommended_upload_count,
            action: !real.recommended_action.is_empty(),
        }
    }
}

impl Status {
    /// Promise 7: the books balance.
    pub fn is_balanced(&self) -> bool {
        self.pools.iter().all(|one| {
            let now = one.available + one.reserved + one.returned + one.quarantined + one.expired;
            one.accepted == now + one.spent + one.revoked + one.purged
        })
    }
}

/// What a pool that keeps to the model says.
impl From<Status> for DeviceStatus {
    fn from(status: Status) -> Self {
        let unusable = status.unusable.into_iter().map(|(reported_at, reference, reason)| {
            UnusableReport { reference, reason, reported_at }
        });
        Self {
            user: status.owner.user,
            device: status.owner.device,
            health: status.health,
            pools: status.pools.into_iter().map(CipherSuiteStatus::from).collect(),
            last_upload_at: status.last_upload_at,
            unusable: unusable.collect(),
            read_at: status.read_at,
        }
    }
}

impl From<Counts> for CipherSuiteStatus {
    fn from(counts: Counts) -> Self {
        Self {
            health: counts.health,
            recommended_upload_count: counts.recommended_upload_count,
            recommended_action: if counts.action { "Act".to_owned() } else { String::new() },
            counts: PoolRow {
                cipher_suite: counts.suite,
                accepted: counts.accepted,
                available: counts.available,
                reserved: counts.reserved,
                spent: counts.spent,
                expired: counts.expired,
                revoked: counts.revoked,
                purged: counts.purged,
                quarantined: counts.quarantined,
                returned: counts.returned,
                unspent: counts.unspent,
                expiring_soon: counts.expiring_soon,
                last_resort: counts.last_resort.map(|one| LastResortRow {
                    reference: one.reference,
                    not_after: one.not_after,
                    uploaded_at: one.uploaded_at,
                    uses: one.uses,
                }),
            },
        }
    }
}
