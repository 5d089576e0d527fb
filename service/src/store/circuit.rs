//! Whether the database can be reached, as lanes and pool know it together.
//!
//! Nobody waits for a connection that another has just failed to make, and nobody waits for an answer of a database that
//! has fallen silent.

use super::StoreError;
use crate::causes::causes;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The last attempt to connect, and how often the database fell silent. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Circuit {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// For how long after a failed attempt nobody asks for another.
    pause: Duration,
    state: Mutex<State>,
    silences: watch::Sender<u64>,
    /// Whether connections may be made at all: not before the database was checked and migrated.
    open: watch::Sender<bool>,
    /// The settings that new sessions begin with, as a check has seen them.
    defaults: Mutex<Option<String>>,
    /// Changes when these do.
    generation: AtomicU64,
    /// Whether the database answered the last write of a beat with an error.
    refuses_writes: AtomicBool,
    /// Whether it has not answered one for long.
    hanging_write: AtomicBool,
    /// Whether it refused the last connection.
    refused: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// When and why the last attempt to connect failed; none if it did not.
    failed: Option<(Instant, StoreError)>,
    /// When the database was last heard of.
    heard: Option<Instant>,
}

impl Circuit {
    /// Nothing has failed yet. After a failed attempt to connect one of those that ask may make another each `pause`, which
    /// is longer than an attempt takes. The check of readiness, which makes several in that time, does not ask.
    pub(super) fn new(pause: Duration) -> Self {
        let inner = Inner {
            pause,
            state: Mutex::default(),
            silences: watch::Sender::new(0),
            open: watch::Sender::new(true),
            defaults: Mutex::default(),
            generation: AtomicU64::new(0),
            refuses_writes: AtomicBool::new(false),
            hanging_write: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Lets no connection be made but that of the check, until it is opened.
    pub(super) fn shut(&self) {
        self.inner.open.send_replace(false);
    }

    /// Lets connections be made.
    pub(super) fn open(&self) {
        self.inner.open.send_replace(true);
    }

    /// Waits until connections may be made.
    pub(super) async fn opened(&self) {
        // It can't be dropped meanwhile.
        self.inner.open.subscribe().wait_for(|open| *open).await.ok();
    }

    /// Which settings new sessions begin with: a session of an earlier generation may differ from them.
    pub(super) fn generation(&self) -> u64 {
        self.inner.generation.load(Ordering::Relaxed)
    }

    /// Notes which settings new sessions begin with. Returns whether they are others than before, which begins a generation.
    pub(super) fn note_defaults(&self, defaults: &str) -> bool {
        let mut known = self.inner.defaults.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = known.as_ref().is_some_and(|known| known != defaults);
        *known = Some(defaults.to_owned());
        if changed {
            self.inner.generation.fetch_add(1, Ordering::Relaxed);
        }
        changed
    }

    /// Notes how a write ended that nothing else can be the fault of.
    pub(super) fn note_write<T>(&self, write: &Result<T, StoreError>) {
        let refused = match write {
            Ok(_) => false,
            Err(error) if error.refuses_writes() => true,
            Err(_) => return,
        };
        let before = self.inner.refuses_writes.swap(refused, Ordering::Relaxed);
        if let (false, Err(error)) = (before, write) {
            tracing::warn!(error = causes(error), "the database refuses to write");
        }
    }

    /// Whether the database refused the last write that says so.
    pub(super) fn refuses_writes(&self) -> bool {
        self.inner.refuses_writes.load(Ordering::Relaxed)
    }

    /// Notes whether a write that should take a moment has not ended for long.
    pub(super) fn note_hanging_write(&self, hangs: bool) {
        self.inner.hanging_write.store(hangs, Ordering::Relaxed);
    }

    /// Whether one has not.
    pub(super) fn has_hanging_write(&self) -> bool {
        self.inner.hanging_write.load(Ordering::Relaxed)
    }

    /// Notes whether the database, which answers, refused a connection.
    pub(super) fn note_refusal<T>(&self, attempt: &Result<T, StoreError>) {
        let refused = attempt.as_ref().is_err_and(|error| error.code().is_some());
        self.inner.refused.store(refused, Ordering::Relaxed);
    }

    /// Whether it refused the last one.
    pub(super) fn was_refused(&self) -> bool {
        self.inner.refused.load(Ordering::Relaxed)
    }

    /// Lets a connection be made.
    ///
    /// # Errors
    /// If no connection may be made yet. If the last attempt failed, and another is under way or was a moment ago: why it failed.
    pub(super) fn ask(&self) -> Result<(), StoreError> {
        if !*self.inner.open.borrow() {
            return Err(StoreError::unavailable("it was not checked yet"));
        }
        match &mut self.state().failed {
            Some((at, error)) if at.elapsed() < self.inner.pause => Err(error.clone()),
            Some((at, _)) => {
                *at = Instant::now();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Notes how an attempt to connect ended. One that failed says nothing if the database was heard of since it began.
    pub(super) fn note<T>(&self, began: Instant, attempt: &Result<T, StoreError>) {
        let mut state = self.state();
        match attempt {
            Ok(_) => *state = State { failed: None, heard: Some(Instant::now()) },
            Err(error) if state.heard.is_none_or(|heard| heard < began) => {
                state.failed = Some((Instant::now(), error.clone()));
            }
            Err(_) => {}
        }
    }

    /// Whether the database was heard of since then.
    pub(super) fn was_heard_since(&self, then: Instant) -> bool {
        self.state().heard.is_some_and(|heard| heard >= then)
    }

    /// The database did not answer even the simplest question, which was asked then. Unless it was heard of since, whatever waits
    /// for it is given up, no connection is used again, and until one can be made nobody waits. Returns whether that is so.
    pub(super) fn fell_silent(&self, asked: Instant, error: StoreError) -> bool {
        {
            let mut state = self.state();
            if state.heard.is_some_and(|heard| heard >= asked) {
                return false;
            }
            state.failed = Some((Instant::now(), error));
        }
        self.inner.silences.send_modify(|silences| *silences += 1);
        true
    }

    /// Tells of silences from now on.
    pub(super) fn silence(&self) -> Silence {
        Silence(self.inner.silences.subscribe())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: a panic leaves nothing half done.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells when the database falls silent.
#[derive(Debug, Clone)]
pub(crate) struct Silence(watch::Receiver<u64>);

impl Silence {
    /// Whether it fell silent since this was last asked: then connections made before are dead.
    pub(crate) fn passed(&mut self) -> bool {
        let passed = self.0.has_changed().unwrap_or_default();
        self.0.mark_unchanged();
        passed
    }

    /// Waits for an answer of the database.
    ///
    /// # Errors
    /// If it fell silent since [`Self::passed`] was last asked.
    pub(crate) async fn or<T>(
        &mut self,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            answer = answer => answer,
            Ok(()) = self.0.changed() => Err(StoreError::silent()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> StoreError {
        StoreError::unavailable("refused")
    }

    #[test]
    fn who_follows_a_failed_attempt_fails_at_once_until_one_succeeds() {
        let circuit = Circuit::new(Duration::from_secs(3600));
        assert!(circuit.ask().is_ok());
        circuit.note::<()>(Instant::now(), &Err(refused()));
        assert!(circuit.ask().is_err());
        circuit.note(Instant::now(), &Ok(()));
        assert!(circuit.ask().is_ok());
    }

    #[tokio::test]
    async fn nothing_connects_before_it_is_opened() {
        let circuit = Circuit::new(Duration::from_secs(3600));
        circuit.shut();
        circuit.note(Instant::now(), &Ok(()));
        assert!(circuit.ask().is_err(), "an answer to the check does not open it");
        circuit.open();
        circuit.opened().await;
        assert!(circuit.ask().is_ok());
    }

    #[test]
    fn a_write_that_was_refused_is_known_until_one_succeeds() {
        let circuit = Circuit::new(Duration::ZERO);
        circuit.note_write::<()>(&Err(StoreError::silent()));
        assert!(!circuit.refuses_writes(), "it said nothing");
        circuit.note_write::<()>(&Err(StoreError::internal("permission denied")));
        circuit.note_write::<()>(&Err(StoreError::silent()));
        assert!(circuit.refuses_writes());
        circuit.note_write(&Ok(()));
        assert!(!circuit.refuses_writes());
    }

    #[test]
    fn an_attempt_that_failed_late_says_nothing_of_a_database_that_is_back() {
        let circuit = Circuit::new(Duration::from_secs(3600));
        let began = Instant::now();
        circuit.note(began, &Ok(()));
        circuit.note::<()>(began, &Err(refused()));
        assert!(circuit.ask().is_ok());
    }

    #[test]
    fn where_nothing_checks_one_call_tries_again() {
        let pause = Duration::from_secs(3600);
        let circuit = Circuit::new(pause);
        let long_ago = Instant::now().checked_sub(pause).unwrap();
        circuit.state().failed = Some((long_ago, refused()));
        assert!(circuit.ask().is_ok());
        assert!(circuit.ask().is_err(), "the others wait for what it finds");
    }

    #[tokio::test]
    async fn whoever_waits_is_told_of_silence() {
        let circuit = Circuit::new(Duration::ZERO);
        let mut silence = circuit.silence();
        assert!(!silence.passed());
        assert!(silence.or(async { Ok(1) }).await.is_ok());
        let never = std::future::pending::<Result<(), StoreError>>();
        let fall = async { assert!(circuit.fell_silent(Instant::now(), refused())) };
        let (given_up, ()) = tokio::join!(silence.or(never), fall);
        assert!(matches!(given_up, Err(StoreError::Lost(_))));
        circuit.fell_silent(Instant::now(), refused());
        assert!(silence.passed() && !silence.passed());
    }

    #[test]
    fn a_database_that_answers_others_has_not_fallen_silent() {
        let circuit = Circuit::new(Duration::from_secs(3600));
        let mut silence = circuit.silence();
        let asked = Instant::now();
        circuit.note(asked, &Ok(()));
        assert!(!circuit.fell_silent(asked, refused()));
        assert!(!silence.passed() && circuit.ask().is_ok());
    }
}
