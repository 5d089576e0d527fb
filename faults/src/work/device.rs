//! A device's side: uploads and what else it does to its pool.

use super::{
    board::Pool,
    classify::{failed, reason},
    voice::Voice,
    worker::Worker,
};
use crate::history::{Answer, Call, Micros, Outcome, Package, Upload, Uploaded};
use jiff::{SignedDuration, Timestamp};
use keypool_client::{Revoke, UploadOutcome};
use keypool_service::{
    clock::{Clock, SystemClock},
    testing::packages::PackageMaker,
};
use rand::Rng;
use std::collections::HashSet;

/// How many packages are in one upload at most, when pools are filled.
const CHUNK: usize = 24;

/// How many packages a device uploads at most when it has taken others out of circulation.
const REFILL: usize = 8;

/// How many seconds the packages live of which one in ten is made.
const SHORT_LIFE: std::ops::Range<i64> = 6..25;

/// How long the others live.
const LONG_LIFE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A package that is to be uploaded.
struct Fresh {
    uploaded: Uploaded,
    bytes: Vec<u8>,
}

impl Worker {
    /// Fills a pool up to its target.
    pub(super) async fn fill_up(&mut self, pool: &Pool) {
        let mut left = pool.target;
        while left > 0 {
            let count = left.min(CHUNK);
            left -= count;
            let mut fresh: Vec<Fresh> = (0..count).map(|_| self.one_time(pool)).collect();
            if left == 0 && pool.has_last_resort {
                fresh.push(self.make(pool.last_resort(), 1, true, LONG_LIFE));
            }
            self.send_upload(pool, fresh).await;
        }
    }

    /// Uploads some packages: most of them new, and some that were uploaded before.
    pub(super) async fn upload(&mut self) {
        let board = self.board.clone();
        let pool = board.any(&mut self.random);
        let most = if pool.target < CHUNK { 2 } else { 8 };
        let mut fresh: Vec<Fresh> =
            (0..self.random.random_range(1..=most)).map(|_| self.one_time(pool)).collect();
        if pool.has_last_resort && self.random.random_ratio(1, 20) {
            fresh.push(self.make(pool.last_resort(), 1, true, LONG_LIFE));
        }
        if self.random.random_ratio(1, 4) {
            let again = pool.some(2, &mut self.random).into_iter();
            // Of a package from before only the bytes are known: the first upload said the rest.
            let usable = again
                .filter(|(package, bytes)| !bytes.is_empty() && self.habits.is_usable(*package));
            fresh.extend(usable.map(|(package, bytes)| {
                let not_after = Micros(0);
                Fresh {
                    uploaded: Uploaded { package, suite: 0, last_resort: false, not_after },
                    bytes,
                }
            }));
        }
        self.send_upload(pool, fresh).await;
    }

    /// Revokes one or two packages, or all of them, and then uploads new ones, whatever came of it.
    pub(super) async fn revoke(&mut self) {
        let board = self.board.clone();
        let pool = board.any(&mut self.random);
        if self.random.random_ratio(1, 8) {
            self.revoke_by(&self.voice, pool, None).await;
            return self.refill(pool).await;
        }
        let count = self.random.random_range(1..=2);
        let some = pool.some(count, &mut self.random);
        let packages: Vec<Package> = some.into_iter().map(|(package, _)| package).collect();
        if !packages.is_empty() {
            self.revoke_by(&self.voice, pool, Some(packages)).await;
        }
    }

    /// Says which packages the device still has, and then uploads new ones, whatever came of it.
    pub(super) async fn reconcile(&mut self) {
        let board = self.board.clone();
        let pool = board.any(&mut self.random);
        let mut kept = pool.all();
        kept.retain(|package| self.habits.is_usable(*package));
        if kept.is_empty() {
            return;
        }
        // It has lost one.
        kept.swap_remove(self.random.random_range(0..kept.len()));
        self.reconcile_by(&self.voice, pool, kept).await;
        self.refill(pool).await;
    }

    /// Takes what a device of the worker's own has out of circulation, on a certain replica, and then uploads new packages
    /// wherever the SDK does, whatever came of it.
    pub(super) async fn start_over(&mut self, replica: usize) {
        let board = self.board.clone();
        let own = self.next_own(&board);
        if self.random.random() {
            self.revoke_by(&self.each[replica], own, None).await;
        } else {
            self.reconcile_by(&self.each[replica], own, own.all().into_iter().take(1).collect())
                .await;
        }
        self.refill(own).await;
    }

    /// Revokes these packages of a pool, or all.
    async fn revoke_by(&self, voice: &Voice, pool: &Pool, packages: Option<Vec<Package>>) {
        self.habits.use_up(packages.clone().unwrap_or_else(|| pool.all()));
        let which = match &packages {
            Some(packages) => Revoke::Refs(refs(packages)),
            None => Revoke::All,
        };
        let (user, device) = (pool.device.0.id(), pool.device.id());
        let revoking = async {
            match voice.client.revoke(user, Some(&device), which).await {
                Ok(_) => (Outcome::Ok(Answer::Nothing), ()),
                Err(error) => (failed(&error, |_| Answer::Nothing), ()),
            }
        };
        voice.call(Call::Revoke(pool.device, packages), revoking).await;
    }

    /// Keeps these packages of a pool, and no others.
    async fn reconcile_by(&self, voice: &Voice, pool: &Pool, kept: Vec<Package>) {
        let is_kept: HashSet<Package> = kept.iter().copied().collect();
        self.habits.use_up(pool.all().into_iter().filter(|one| !is_kept.contains(one)));
        let (user, device) = (pool.device.0.id(), pool.device.id());
        let reconciling = async {
            match voice.client.reconcile(user, device, refs(&kept), None).await {
                Ok(reconciled) => {
                    let revoked = reconciled.revoked.iter();
                    let revoked = revoked.filter_map(|package| Package::of_ref(package)).collect();
                    (Outcome::Ok(Answer::Revoked(revoked)), ())
                }
                Err(error) => (failed(&error, |_| Answer::Nothing), ()),
            }
        };
        voice.call(Call::Reconcile(pool.device, kept.clone()), reconciling).await;
    }

    /// Uploads packages that were made just now: a call that was made before is not about them.
    async fn refill(&mut self, pool: &Pool) {
        let fresh = (0..pool.target.min(REFILL)).map(|_| self.one_time(pool)).collect();
        self.send_upload(pool, fresh).await;
    }

    /// Asks for the state of a pool.
    pub(super) async fn status(&mut self) {
        let board = self.board.clone();
        let device = board.any(&mut self.random).device;
        let asking = async {
            match self.voice.client.pool_status(device.0.id(), device.id()).await {
                Ok(_) => (Outcome::Ok(Answer::Nothing), ()),
                Err(error) => (failed(&error, |_| Answer::Nothing), ()),
            }
        };
        self.voice.call(Call::Status(device), asking).await;
    }

    async fn send_upload(&mut self, pool: &Pool, fresh: Vec<Fresh>) {
        let packages: Vec<Uploaded> = fresh.iter().map(|fresh| fresh.uploaded).collect();
        let bytes: Vec<Vec<u8>> = fresh.into_iter().map(|fresh| fresh.bytes).collect();
        let new = packages.iter().zip(&bytes).filter(|(uploaded, _)| uploaded.suite != 0);
        // Before it is sent: what a reconciliation does not list is revoked.
        pool.remember(new.map(|(uploaded, bytes)| (uploaded.package, bytes.clone())));
        let (user, device) = (pool.device.0.id(), pool.device.id());
        let call = Call::Upload(Upload { device: pool.device, packages });
        let uploading = async {
            match self.voice.client.upload(user, device, bytes).await {
                Ok(uploaded) => {
                    let results = uploaded.results.into_iter().map(|result| match result.outcome {
                        UploadOutcome::Accepted | UploadOutcome::AlreadyPresent => None,
                        UploadOutcome::Rejected { reason, .. } => {
                            Some(reason.as_str_name().to_owned())
                        }
                        other => Some(format!("{other:?}")),
                    });
                    (Outcome::Ok(Answer::Uploaded(results.collect())), ())
                }
                Err(error) => (failed(&error, |_| Answer::Nothing), ()),
            }
        };
        self.voice.call(call, uploading).await;
    }

    /// A new one-time package: mostly of cipher suite 1, and for two weeks.
    fn one_time(&mut self, pool: &Pool) -> Fresh {
        if pool.is_uniform {
            return self.make(pool.maker(1), 1, false, LONG_LIFE);
        }
        let suite = if self.random.random_ratio(1, 6) { 2 } else { 1 };
        let life = match self.random.random_ratio(1, 10) {
            true => SignedDuration::from_secs(self.random.random_range(SHORT_LIFE)),
            false => LONG_LIFE,
        };
        self.make(pool.maker(suite), suite, false, life)
    }

    fn make(
        &self,
        maker: &PackageMaker,
        suite: u16,
        last_resort: bool,
        life: SignedDuration,
    ) -> Fresh {
        let now = SystemClock.now();
        // Lifetimes are in whole seconds.
        let seconds = (now + life).as_second();
        let not_after = Timestamp::from_second(seconds).unwrap_or(now);
        let bytes = maker.make_living(now - SignedDuration::from_hours(1), not_after);
        let uploaded = Uploaded {
            package: Package::of(&bytes),
            suite,
            last_resort,
            not_after: not_after.into(),
        };
        Fresh { uploaded, bytes }
    }
}

fn refs(packages: &[Package]) -> Vec<Vec<u8>> {
    packages.iter().map(|package| package.0.to_vec()).collect()
}

/// What became of each package of a reserve's targets, by user and device.
pub(super) fn missing(
    missing: &[keypool_client::Missing],
) -> Vec<(crate::history::User, Option<u32>, String)> {
    use crate::history::{Device, User};
    missing
        .iter()
        .filter_map(|one| {
            let device = one.device_id.as_deref();
            let any = Device::of(&one.user_id, device.unwrap_or("device-0"))?;
            let Device(User(user), number) = any;
            Some((User(user), device.map(|_| number), reason(one.reason)))
        })
        .collect()
}
