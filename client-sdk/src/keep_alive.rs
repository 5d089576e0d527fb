//! Holds that last as long as they are needed.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::reservation::{Extended, Holds};
use crate::{Client, Error, Reservation};

/// How long a hold lasts if neither the caller nor the service says so: the default of services that
/// don't tell their time.
const USUAL_HOLD: Duration = Duration::from_secs(60);

/// The shortest time between two extends of the same holds.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// The same for holds that have ended: they may be had again as long as nobody else takes them.
const LAPSED_PAUSE: Duration = Duration::from_secs(1);

/// The least time that an extend gets.
const MIN_PATIENCE: Duration = Duration::from_secs(2);

/// Extends the holds of a reservation in the background, until it is dropped or nothing is held any
/// more. See [`Reservation::keep_alive`].
#[derive(Debug)]
#[must_use = "dropped, it extends nothing"]
pub struct KeepAlive {
    _tasks: JoinSet<()>,
}

impl Reservation {
    /// Extends the holds of what it has now until the returned guard is dropped: for invites that take
    /// longer than a hold lasts. Holds are extended when a third of what is left of them is over, by what
    /// was asked for at first or else by the service's default. After a failure that happens again,
    /// sooner and sooner.
    ///
    /// Where it is not known when they end, the first extend is made at once: if no
    /// [`ttl`](crate::ReserveBuilder::ttl) was asked for, after [`ensure`](Self::ensure), and for a
    /// reservation that may be from before. An [`extend`](Self::extend) that succeeds tells.
    ///
    /// A package that is not held any more (spent, released, lost, expired or revoked) is left out from
    /// then on, and the others stay held; the spend says what became of it. Packages that
    /// [`ensure`](Self::ensure) adds later are not covered: call this again after it, and drop the
    /// former guard.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn keep_alive(&self) -> KeepAlive {
        let mut tasks = JoinSet::new();
        let end = self.held_until().unwrap_or_else(Instant::now);
        // Apart from each other, so that a part that fails or hangs keeps no other one waiting.
        for holds in self.holds().per_call() {
            tasks.spawn(keep(self.client().clone(), holds, self.ttl(), end));
        }
        KeepAlive { _tasks: tasks }
    }
}

/// Extends holds, which end at `end`, until none of them is left.
async fn keep(client: Client, mut holds: Holds, ttl: Option<Duration>, end: Instant) {
    let mut end = end;
    let mut next = Instant::now() + left(end) / 3;
    let mut lapsed_pause = LAPSED_PAUSE;
    loop {
        sleep_until(next).await;
        let asked_at = Instant::now();
        let patience = (left(end) / 2).max(MIN_PATIENCE);
        let extended = timeout(patience, holds.extend(&client, ttl)).await;
        let Extended { end: told, failure } =
            extended.unwrap_or(Extended { end: None, failure: None });
        if let Some(error) = &failure {
            tracing::debug!(%error, "holds were not extended");
        }
        if holds.is_empty() {
            return;
        }
        let pause = match told {
            Some(told) => {
                end = told.instant.unwrap_or(asked_at + ttl.unwrap_or(USUAL_HOLD));
                lapsed_pause = (left(end) / 3).max(LAPSED_PAUSE);
                left(end) / 3
            }
            None if left(end).is_zero() => lapsed_pause,
            None => left(end) / 3,
        };
        let asked = failure.as_ref().and_then(Error::retry_after).filter(|_| told.is_none());
        next = Instant::now() + pause.max(asked.unwrap_or_default()).max(MIN_PAUSE);
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}
