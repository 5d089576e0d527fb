use super::{
    key_set::{InvalidKeySet, KeySet},
    source::{Source, Unreadable},
};
use crate::{
    clock::Clock,
    config::{ConfigError, TokensConfig},
    supervise::Supervisor,
};
use jiff::{SignedDuration, Timestamp};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

/// How soon after a failure the keys are read again; twice as long after each further one, up to the usual interval.
const RETRY: Duration = Duration::from_secs(1);

/// The keys have not been had yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unavailable;

/// The issuer's keys, read again in the background. What was read last stays when a read fails.
#[derive(Debug)]
pub(super) struct Keys {
    state: watch::Receiver<State>,
    wanted: Arc<Notify>,
    clock: Arc<dyn Clock>,
    min_refresh_interval: SignedDuration,
    _refresher: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    set: Option<Arc<KeySet>>,
    /// How often the background task was done with a read, or with a wish for one.
    turns: u64,
    /// When keys were last read because somebody wanted it.
    wanted_at: Option<Timestamp>,
}

/// Why the issuer's keys could not be had.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Invalid(#[from] InvalidKeySet),
}

/// Reads the issuer's keys once, and says how many can be used.
pub(crate) async fn read_keys(config: &TokensConfig) -> Result<usize, Box<dyn Error>> {
    let document = Source::new(config)?.read().await?;
    Ok(KeySet::read(document)?.len())
}

impl Keys {
    /// Begins to read the keys, within a Tokio runtime.
    pub(super) fn new(
        config: &TokensConfig,
        clock: Arc<dyn Clock>,
        tasks: &Supervisor,
    ) -> Result<Self, ConfigError> {
        let wanted = Arc::new(Notify::new());
        let (sender, state) = watch::channel(State::default());
        let refresher = Refresher {
            source: Source::new(config)?,
            state: sender,
            wanted: wanted.clone(),
            clock: clock.clone(),
            interval: config.refresh_interval.unsigned_abs(),
            min_refresh_interval: config.min_refresh_interval,
        };
        Ok(Self {
            state,
            wanted,
            clock,
            min_refresh_interval: config.min_refresh_interval,
            _refresher: AbortOnDropHandle::new(tasks.spawn("token keys", refresher.run())),
        })
    }

    /// The keys that were read last; waits for the first read, whose time is limited.
    pub(super) async fn current(&self) -> Result<Arc<KeySet>, Unavailable> {
        self.after(0).await
    }

    /// The keys after another read, for a token whose key is unknown. Those that ask at the same time share the read;
    /// those that ask too soon after another one get the keys that there are.
    pub(super) async fn refreshed(&self) -> Result<Arc<KeySet>, Unavailable> {
        let turns = {
            let state = self.state.borrow();
            if !state.may_read(self.clock.now(), self.min_refresh_interval) {
                return state.set.clone().ok_or(Unavailable);
            }
            state.turns
        };
        self.wanted.notify_one();
        self.after(turns).await
    }

    async fn after(&self, turns: u64) -> Result<Arc<KeySet>, Unavailable> {
        let mut state = self.state.clone();
        let state = state.wait_for(|state| state.turns > turns).await.map_err(|_| Unavailable)?;
        state.set.clone().ok_or(Unavailable)
    }
}

impl State {
    /// Whether a wish for a read is granted.
    fn may_read(&self, now: Timestamp, min_refresh_interval: SignedDuration) -> bool {
        self.wanted_at.is_none_or(|at| now.duration_since(at) >= min_refresh_interval)
    }
}

/// The one task that reads: so no caller that leaves can interrupt a read, or begin a second one.
struct Refresher {
    source: Source,
    state: watch::Sender<State>,
    wanted: Arc<Notify>,
    clock: Arc<dyn Clock>,
    interval: Duration,
    min_refresh_interval: SignedDuration,
}

impl Refresher {
    async fn run(self) {
        let mut wanted_at = None;
        let mut retry = RETRY;
        loop {
            let pause = match self.refresh(wanted_at).await {
                Ok(()) => {
                    retry = RETRY;
                    self.interval
                }
                Err(error) => {
                    tracing::warn!(%error, "can't read the keys of tokens; will try again");
                    let pause = retry.min(self.interval);
                    retry = pause.saturating_mul(2);
                    pause
                }
            };
            wanted_at = self.pause(pause).await;
        }
    }

    /// Waits until it is time to read again, or somebody wants it and may: then says when.
    async fn pause(&self, pause: Duration) -> Option<Timestamp> {
        let wanted = async {
            loop {
                self.wanted.notified().await;
                let now = self.clock.now();
                if self.state.borrow().may_read(now, self.min_refresh_interval) {
                    return now;
                }
                self.state.send_modify(|state| state.turns += 1);
            }
        };
        tokio::select! {
            () = sleep(pause) => None,
            now = wanted => Some(now),
        }
    }

    async fn refresh(&self, wanted_at: Option<Timestamp>) -> Result<(), RefreshError> {
        let read = self.read().await;
        let label = if read.is_ok() { "ok" } else { "failed" };
        crate::telemetry::catalogue::JWKS_REFRESHES.count([label]);
        let (set, result) = match read {
            Ok(set) => (set, Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.state.send_modify(|state| {
            state.turns += 1;
            state.wanted_at = wanted_at.or(state.wanted_at);
            if let Some(set) = set {
                state.set = Some(Arc::new(set));
            }
        });
        result
    }

    /// The keys, unless they are those that are known.
    async fn read(&self) -> Result<Option<KeySet>, RefreshError> {
        let document = self.source.read().await?;
        if self.state.borrow().set.as_ref().is_some_and(|set| set.is_of(&document)) {
            return Ok(None);
        }
        let set = KeySet::read(document)?;
        if set.len() == 0 {
            tracing::warn!("no key of tokens can be used; every token is refused");
        } else {
            tracing::info!(keys = set.len(), "the keys of tokens were read");
        }
        Ok(Some(set))
    }
}
