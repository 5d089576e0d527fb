//! The rules of the pool: what is accepted, handed out, used up and counted. No tonic, no SQL.
//!
//! [`KeyPackagePool`] is the whole of it; its methods are those of the API, in the domain's types.

mod contention;
mod deferred;
mod error;
mod holds;
mod policy;
mod reports;
mod reserve;
mod revoke;
mod status;
mod unknown;
mod upload;
pub mod validation;
mod validator;
mod watch;

pub use crate::types::Target;
pub use error::{HoldFault, MissingReason, MissingTarget, PackageFault, PoolError};
pub use holds::{Extension, HoldRequest, PackageName, Release, SpendRequest};
pub use policy::{Policy, ReturnedPackages};
pub use reserve::{Reservation, ReserveReport, ReserveRequest, ReservedPackage};
pub use revoke::{ReconcileReport, Selector};
pub use status::{CipherSuiteStatus, DeviceStatus, Health, UnusableReport};
pub use upload::{UploadReport, UploadResult};
pub use watch::Watch;

use crate::{
    clock::MAX_SKEW,
    fence::FenceGuard,
    lane::{LaneKind, LaneRules, Lanes},
    limits::Limits,
    store::{
        Bucketful, LogFilter, LogPosition, LogRow, Purged, Store, StoreError, SurveyRow, SweepTerms,
    },
    supervise::Supervisor,
    types::Holder,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};
use validator::Validator;
use watch::Watches;

/// How many buckets one statement sweeps.
const SWEPT_BUCKETS: usize = 64;

/// How long a sweep looks for lapsed holds.
const LAPSE_ROUND: Duration = Duration::from_millis(200);

/// Who calls, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who holds what the call reserves: the caller itself, or the user it acts for.
    pub holder: Holder,
    /// The authenticated caller.
    pub principal: Holder,
    /// Whether the holder is limited: a back end that names no user stands for many.
    pub limited: bool,
    /// Whether it is trusted as a back end is; else as an inviter.
    pub is_backend: bool,
    /// Whether a release may be of reservations of any holder.
    pub whoever_holds: bool,
}

/// Pools of KeyPackages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KeyPackagePool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    lanes: Lanes,
    policy: Policy,
    limits: Arc<Limits>,
    fence: Arc<FenceGuard>,
    /// One permit for each call that may wait, in a lane or for a connection of the store's.
    calls: Semaphore,
    validator: Validator,
    /// Which group of buckets is looked through for lapsed holds next.
    lapse_group: AtomicUsize,
    watches: Arc<Watches>,
}

impl KeyPackagePool {
    /// Pools on a store, by its clock, under a policy. Must be called within a Tokio runtime, where its tasks run until the last
    /// clone is dropped.
    #[must_use]
    pub fn new(store: Store, policy: Policy, tasks: &Supervisor) -> Self {
        let clock = store.clock();
        let limits = Arc::new(Limits::new(&policy.rates));
        let fence = Arc::new(FenceGuard::new(clock.clone(), policy.synchronous_standbys));
        let rules = LaneRules {
            clock: clock.clone(),
            revocation_grace: policy.revocation_grace,
            max_total_hold: policy.max_total_hold,
            fair_share: policy.low_watermark,
            cap: policy.cap,
            max_bytes_per_user: policy.max_bytes_per_user,
            max_devices: policy.max_devices,
            max_lifetime: policy.validation.max_lifetime,
            min_remaining: policy.validation.min_remaining,
            limits: limits.clone(),
            fence: fence.clone(),
        };
        let inner = Arc::new(Inner {
            lanes: Lanes::start(&store, &rules, &policy.lanes, tasks),
            store,
            calls: Semaphore::new(policy.max_calls_in_flight),
            limits,
            fence,
            validator: Validator::start(&policy.validation),
            lapse_group: AtomicUsize::new(0),
            watches: Arc::new(Watches::new(policy.max_watches)),
            policy,
        });
        tasks.spawn("watch follower", watch::follow(&inner));
        Self { inner }
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }

    fn lanes(&self) -> &Lanes {
        &self.inner.lanes
    }

    fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.store().clock().now()
    }

    /// Whether a call that goes to lanes of a kind is refused as overloaded, whatever it asks for. So it need not be read.
    #[must_use]
    pub fn refuses(&self, kind: LaneKind) -> bool {
        self.inner.calls.available_permits() == 0 || self.lanes().refuse(kind)
    }

    /// Lets a call in, unless too many are in already: memory stays bounded whatever the load.
    fn admit(&self) -> Result<SemaphorePermit<'_>, PoolError> {
        self.inner.calls.try_acquire().map_err(|_full| PoolError::Overloaded)
    }

    /// Reads a page of the spend log, newest first, after a position.
    ///
    /// # Errors
    /// If the service is overloaded or the database fails.
    pub async fn spend_log(
        &self,
        filter: &LogFilter,
        after: Option<&LogPosition>,
        limit: u32,
    ) -> Result<Vec<LogRow>, PoolError> {
        let _call = self.admit()?;
        Ok(self.store().spend_log(filter, after, limit).await?)
    }

    /// Purges what nobody needs any more, small batches in each group of buckets. Nothing waits for it: what it would
    /// remove is never handed out anyway.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn sweep(&self) -> Result<Purged, PoolError> {
        let now = self.now();
        let terms = SweepTerms {
            spent_before: now - self.policy().keep_spent,
            expired_before: now - self.policy().keep_expired,
            logged_before: now - self.policy().spend_log_retention,
        };
        let (mut purged, mut locked) = (Purged::default(), None);
        for buckets in Bucketful::all(SWEPT_BUCKETS) {
            match self.store().purge(&buckets, terms).await {
                Ok(some) => purged += some,
                // The other buckets do not wait for it.
                Err(error @ StoreError::Locked(_)) => locked = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        match self.log_lapsed(now).await {
            Ok(()) => {}
            Err(error @ StoreError::Locked(_)) => locked = Some(error),
            Err(error) => return Err(error.into()),
        }
        self.inner.fence.sweep(self.store()).await?;
        locked.map_or(Ok(purged), |error| Err(error.into()))
    }

    /// Notes which holds have lapsed: of all buckets in a small database, else of as many as take a moment, and of the others later.
    async fn log_lapsed(&self, now: jiff::Timestamp) -> Result<(), StoreError> {
        let groups = Bucketful::all(SWEPT_BUCKETS);
        let began = Instant::now();
        for _ in 0..groups.len() {
            let next = self.inner.lapse_group.fetch_add(1, Ordering::Relaxed) % groups.len();
            self.store().log_lapsed(&groups[next], now).await?;
            if began.elapsed() >= LAPSE_ROUND {
                break;
            }
        }
        Ok(())
    }

    /// The same, but nothing if the clocks of machine and database differ: one of them is wrong, and what was purged by mistake
    /// is gone.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn sweep_if_clocks_agree(&self) -> Result<Option<Purged>, PoolError> {
        if self.store().check().await?.clock_skew.abs() > MAX_SKEW {
            return Ok(None);
        }
        self.sweep().await.map(Some)
    }

    /// Counts the pools in some buckets by their health, and says when.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn survey(
        &self,
        buckets: &Bucketful,
    ) -> Result<(jiff::Timestamp, Vec<SurveyRow>), StoreError> {
        let now = self.now();
        Ok((now, self.store().survey(buckets, now, self.policy().low_watermark).await?))
    }

    /// Makes sure, for ever, that the database has not gone back, also while no call asks for anything.
    pub async fn guard_fence(self) {
        let (fence, store) = (self.inner.fence.clone(), self.inner.store.clone());
        drop(self);
        fence.run(store).await;
    }

    /// Ends every watch, so that the server can drain.
    pub fn close_watches(&self) {
        self.inner.watches.close();
    }

    /// Refuses new calls, and finishes those that wait in the lanes. Dropped before it returns, it leaves them undone.
    pub async fn close(&self) {
        self.inner.lanes.close().await;
    }
}
