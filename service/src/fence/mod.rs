//! Finds out that the database has forgotten something, and keeps back what may have been handed out already.
//!
//! A database that was restored from a backup, or whose standby took over before it had everything, would hand spent packages
//! out again. Each connection is asked, before anything is taken by it, whether the database is still the one that this replica
//! knows: the same cluster, on the same timeline, the same database and tables, with the last beat of each replica. If it isn't, a fence is raised: one-time packages
//! of before are quarantined, until their device has said that it still has their private keys. docs/decisions/0018-fence.md says
//! what this finds and what it can't.

mod judge;

use crate::{
    clock::Clock,
    store::{Beat, Fences, NewFence, Session, Store, StoreError},
};
use jiff::{SignedDuration, Timestamp};
use judge::{Cause, Remembered, judge};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use uuid::Uuid;

/// How often a replica makes sure that the database is still the one it knows.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// How often a replica beats although nothing was changed by it.
const IDLE_BEAT: SignedDuration = SignedDuration::from_hours(1);

/// How long the beats of a replica that is gone are kept. Far longer than one that is there is silent.
const KEEP_BEATS: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How old a beat may be that must still be there: less than it is kept, as clocks differ.
const LASTING_BEAT: SignedDuration = SignedDuration::from_hours(6 * 24);

/// How often it is tried to raise a fence while others do the same.
const ATTEMPTS: usize = 5;

/// What one replica remembers of its database. Cheap to share; it forgets all when the process ends.
pub struct FenceGuard {
    /// The replica's name, drawn when it starts.
    replica: String,
    clock: Arc<dyn Clock>,
    /// Whether a standby that takes over has all that was acknowledged.
    synchronous_standbys: bool,
    remembered: Mutex<Option<Arc<Remembered>>>,
    /// Whether something was acknowledged since the last beat.
    acknowledged: AtomicBool,
}

impl fmt::Debug for FenceGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceGuard").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl FenceGuard {
    /// A guard that remembers nothing yet. With `synchronous_standbys`, a new timeline alone raises no fence.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, synchronous_standbys: bool) -> Self {
        Self {
            replica: Uuid::new_v4().to_string(),
            clock,
            synchronous_standbys,
            remembered: Mutex::default(),
            acknowledged: AtomicBool::new(false),
        }
    }

    /// Makes sure that nothing is handed out by a new connection that the database has only forgotten to have handed out:
    /// raises a fence if need be.
    ///
    /// # Errors
    /// If the database fails, or is a standby.
    pub async fn admit(&self, session: &mut Session) -> Result<(), StoreError> {
        self.check(session).await.map(drop)
    }

    /// Notes that the database is asked to commit something, or that callers were told that it has.
    pub fn note_acknowledged(&self) {
        // Looked at first: most of the time it is set, and need not be written.
        if !self.acknowledged.load(Ordering::Relaxed) {
            self.acknowledged.store(true, Ordering::Relaxed);
        }
    }

    /// Beats for ever, on a connection of its own, and so finds out within a second that the database has gone back behind
    /// connections that did not break, as a pooler's.
    pub async fn run(self: Arc<Self>, store: Store) {
        let mut session = None;
        let mut last_beat = Timestamp::MIN;
        loop {
            if let Err(error) = self.beat(&store, &mut session, &mut last_beat).await {
                tracing::debug!(?error, "no beat");
                session = None;
            }
            tokio::time::sleep(BEAT_INTERVAL).await;
        }
    }

    /// Purges the beats of replicas that are gone.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn sweep(&self, store: &Store) -> Result<(), StoreError> {
        store.purge_beats(self.clock.now() - KEEP_BEATS).await
    }

    async fn beat(
        &self,
        store: &Store,
        session: &mut Option<Session>,
        last_beat: &mut Timestamp,
    ) -> Result<(), StoreError> {
        let session = match session {
            Some(session) if !session.is_closed() => session,
            _ => session.insert(store.session().await?),
        };
        let Fences { newest, mut beats, .. } = self.check(session).await?;
        let newest_fence = newest.map_or(0, |(number, _)| number);
        let now = self.clock.now();
        let is_due = now.duration_since(*last_beat).abs() >= IDLE_BEAT;
        let (known_fence, last_number) = self.last_known();
        let is_new = known_fence != Some(newest_fence);
        if self.acknowledged.swap(false, Ordering::Relaxed) || is_due || is_new {
            let beat = Beat { number: last_number + 1, beaten_at: now };
            let noted = session.beat(&self.replica, beat).await;
            if noted.is_err() {
                self.acknowledged.store(true, Ordering::Relaxed);
            }
            noted?;
            *last_beat = now;
            beats.insert(self.replica.clone(), beat);
        }
        *self.lock() = Some(Arc::new(Remembered { beats, newest_fence }));
        Ok(())
    }

    /// The newest fence that this replica remembers, and the number of its last beat.
    fn last_known(&self) -> (Option<i32>, i64) {
        let Some(known) = self.remembered() else { return (None, 0) };
        let beat = known.beats.get(&self.replica);
        (Some(known.newest_fence), beat.map_or(0, |beat| beat.number))
    }

    /// Raises a fence if need be, and returns what the database says then.
    async fn check(&self, session: &mut Session) -> Result<Fences, StoreError> {
        for _ in 0..ATTEMPTS {
            // Before the database is asked: a beat that it acknowledges meanwhile is none that it has forgotten.
            let remembered = self.remembered();
            let history = session.history().await?;
            let fences = session.fences().await?;
            let newest = fences.newest.map(|(number, _)| number);
            // Asked for after the database was: who purged the beat until then did not know a later time.
            let lasting_since = self.clock.now() - LASTING_BEAT;
            let Some(cause) = judge(history, &fences, remembered.as_deref(), lasting_since) else {
                crate::telemetry::catalogue::FENCE.with([]).set(fences.up);
                return Ok(fences);
            };
            let up = match cause {
                Cause::First | Cause::Noted => false,
                Cause::OtherTimeline => !self.synchronous_standbys,
                Cause::OtherCluster | Cause::OtherDatabase | Cause::FellBack => true,
            };
            // Of a table that was emptied, too, so that the packages of before are below it.
            let newest = newest.max(remembered.as_ref().map(|remembered| remembered.newest_fence));
            let number = newest.map_or(0, |newest| newest.saturating_add(1));
            let fence =
                NewFence { number, cause: cause.as_str(), history, identity: &fences.identity, up };
            if session.raise_fence(&fence, self.clock.now()).await? && up {
                let cause = fence.cause;
                tracing::error!(
                    number,
                    cause,
                    "the database may have forgotten hand-outs: packages of before are quarantined"
                );
            }
        }
        Err(StoreError::conflict("fences were raised again and again"))
    }

    fn remembered(&self) -> Option<Arc<Remembered>> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Remembered>>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
