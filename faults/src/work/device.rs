//! A device's side: uploads and what else it does to its pool.

use super::{
    board::Pool,
    classify::{failed, reason},
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

/// How many packages are in one upload at most, when pools are filled.
const CHUNK: usize = 24;

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
            fresh.extend(again.filter(|(_, bytes)| !bytes.is_empty()).map(|(package, bytes)| {
                let not_after = Micros(0);
                Fresh {
                    uploaded: Uploaded { package, suite: 0, last_resort: false, not_after },
                    bytes,
                }
            }));
        }
        self.send_upload(pool, fresh).await;
    }

    /// Revokes one or two packages and, rarely, all of them.
    pub(super) async fn revoke(&mut self) {
        let board = self.board.clone();
        let pool = board.any(&mut self.random);
        let packages = match self.random.random_ratio(1, 40) {
            true => None,
            false => {
                let count = self.random.random_range(1..=2);
                let some = pool.some(count, &mut self.random);
                Some(some.into_iter().map(|(package, _)| package).collect::<Vec<_>>())
            }
        };
        let which = match &packages {
            Some(packages) if packages.is_empty() => return,
            Some(packages) => Revoke::Refs(refs(packages)),
            None => Revoke::All,
        };
        let (user, device) = (pool.device.0.id(), pool.device.id());
        let revoking = async {
            match self.client.revoke(user, Some(&device), which).await {
                Ok(_) => (Outcome::Ok(Answer::Nothing), ()),
                Err(error) => (failed(&error, |_| Answer::Nothing), ()),
            }
        };
        self.log.call(self.caller, Call::Revoke(pool.device, packages), revoking).await;
    }

    /// Says which packages the device still has: all that are remembered but one.
    pub(super) async fn reconcile(&mut self) {
        let board = self.board.clone();
        let pool = board.any(&mut self.random);
        let mut kept = pool.all();
        if kept.is_empty() {
            return;
        }
        kept.swap_remove(self.random.random_range(0..kept.len()));
        let (user, device) = (pool.device.0.id(), pool.device.id());
        let reconciling = async {
            match self.client.reconcile(user, device, refs(&kept), None).await {
                Ok(reconciled) => {
                    let revoked = reconciled.revoked.iter();
                    let revoked = revoked.filter_map(|package| Package::of_ref(package)).collect();
                    (Outcome::Ok(Answer::Revoked(revoked)), ())
                }
                Err(error) => (failed(&error, |_| Answer::Nothing), ()),
            }
        };
        let call = Call::Reconcile(pool.device, kept.clone());
        self.log.call(self.caller, call, reconciling).await;
    }

    /// Asks for the state of a pool.
    pub(super) async fn status(&mut self) {
        let board = self.board.clone();
        let device = board.any(&mut self.random).device;
        let asking = async {
            match self.client.pool_status(device.0.id(), device.id()).await {
                Ok(_) => (Outcome::Ok(Answer::Nothing), ()),
                Err(error) => (failed(&error, |_| Answer::Nothing), ()),
            }
        };
        self.log.call(self.caller, Call::Status(device), asking).await;
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
            match self.client.upload(user, device, bytes).await {
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
        self.log.call(self.caller, call, uploading).await;
    }

    /// A new one-time package: mostly of cipher suite 1, and for two weeks.
    fn one_time(&mut self, pool: &Pool) -> Fresh {
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
