//! Measures callers: each makes one call after another, and so keeps one call in flight.

mod latency;
mod measured;
mod meter;
mod offer;
mod usage;

pub(crate) use latency::Latencies;
pub(crate) use measured::Measured;
pub(crate) use meter::Meter;
pub(crate) use offer::{Answer, Offer, Sender, Taken, offer};
pub(crate) use usage::{memory_peak, memory_used};

use crate::error::Error;
use keypool_proto::v1::ErrorReason;
use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic_types::StatusExt;

/// How long the calls that are under way at the end may take.
const DRAIN: Duration = Duration::from_secs(60);

/// How long a caller waits after a failed call: a service that is gone must not be hammered.
const AFTER_ERROR: Duration = Duration::from_millis(20);

/// How many failed calls are told of.
const ERRORS_SHOWN: usize = 5;

/// Something that makes one call after another.
pub(crate) trait Caller: Send + 'static {
    /// Makes a call, and returns how many items it was about; none if there is nothing left to do.
    fn call(&mut self) -> impl Future<Output = Result<Option<u64>, CallError>> + Send;

    /// Looks at the answer of the last call. Not measured.
    fn verify(&mut self) -> impl Future<Output = Result<(), CallError>> + Send {
        async { Ok(()) }
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The service refused it as OVERLOADED.
    #[error("refused as OVERLOADED")]
    Overloaded,
    /// Otherwise.
    #[error("{0}")]
    Failed(String),
}

impl From<tonic::Status> for CallError {
    fn from(status: tonic::Status) -> Self {
        if is_overloaded(&status) {
            return Self::Overloaded;
        }
        Self::Failed(format!("{:?}: {}", status.code(), status.message()))
    }
}

/// Whether the service refused a call because too much waits.
pub(crate) fn is_overloaded(status: &tonic::Status) -> bool {
    let reason = status.get_details_error_info().map(|info| info.reason);
    reason.as_deref() == Some(ErrorReason::Overloaded.as_reason())
}

impl From<tokio_postgres::Error> for CallError {
    fn from(error: tokio_postgres::Error) -> Self {
        let detail = error.as_db_error().map(ToString::to_string);
        Self::Failed(format!(
            "{error}{}",
            detail.map(|detail| format!(": {detail}")).unwrap_or_default()
        ))
    }
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// What passes before anything is counted.
    pub(crate) warm_up: Duration,
    /// What is counted.
    pub(crate) length: Duration,
}

/// Calls that failed and must not. Shared by all measurements of a run.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    may_be_overloaded: bool,
    count: AtomicU64,
    first: Mutex<Vec<String>>,
}

impl Failures {
    /// Refusals as OVERLOADED are no failures: what is measured is how much is too much.
    pub(crate) fn of_overload() -> Self {
        Self { may_be_overloaded: true, ..Self::default() }
    }

    /// Notes one.
    fn note(&self, error: &CallError) {
        if self.may_be_overloaded && matches!(error, CallError::Overloaded) {
            return;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.len() < ERRORS_SHOWN {
            first.push(error.to_string());
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The first of them.
    pub(crate) fn first(&self) -> Vec<String> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the callers of one measurement share.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Whether calls that end are counted.
    counted: AtomicBool,
    /// Whether no more calls are to be made.
    over: AtomicBool,
    calls: AtomicU64,
    items: AtomicU64,
    latencies: Latencies,
}

impl Tally {
    /// Items so far.
    pub(crate) fn items(&self) -> u64 {
        self.items.load(Ordering::Relaxed)
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The latency so far below which a share of the calls stayed, in milliseconds.
    pub(crate) fn latency_ms(&self, share: f64) -> f64 {
        self.latencies.quantile_ms(share)
    }

    /// Notes a call that has ended.
    fn note(&self, caller: usize, items: u64, took: Duration) {
        if self.counted.load(Ordering::Relaxed) {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.items.fetch_add(items, Ordering::Relaxed);
            self.latencies.record(caller, took);
        }
    }
}

/// Lets the callers call for as long as the window says, or until none has anything left to do.
pub(crate) async fn measure<C: Caller>(
    callers: Vec<C>,
    window: Window,
    meter: &Meter<'_>,
    failures: &Arc<Failures>,
) -> Result<Measured, Error> {
    measure_watched(callers, window, meter, failures, async |_| std::future::pending().await).await
}

/// The same, with something that watches the tally meanwhile.
pub(crate) async fn measure_watched<C: Caller>(
    callers: Vec<C>,
    window: Window,
    meter: &Meter<'_>,
    failures: &Arc<Failures>,
    watch: impl AsyncFnOnce(&Tally),
) -> Result<Measured, Error> {
    let tally = Arc::new(Tally::default());
    let mut tasks = JoinSet::new();
    for (number, caller) in callers.into_iter().enumerate() {
        tasks.spawn(drive(number, caller, tally.clone(), failures.clone()));
    }
    sleep(window.warm_up).await;
    let before = meter.read().await?;
    tally.counted.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    let all_done = async { while tasks.join_next().await.is_some() {} };
    tokio::select! {
        () = sleep(window.length) => {}
        () = all_done => {}
        () = watch(&tally) => {}
    }
    tally.counted.store(false, Ordering::Relaxed);
    tally.over.store(true, Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    let used = meter.read().await?.since(&before);
    let drain = async {
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok::<(), Error>(())
    };
    timeout(DRAIN, drain).await.map_err(|_| Error::Hang(DRAIN))??;
    Ok(Measured::new(seconds, &tally, used))
}

/// Makes one call after another until the measurement is over.
async fn drive<C: Caller>(
    number: usize,
    mut caller: C,
    tally: Arc<Tally>,
    failures: Arc<Failures>,
) {
    while !tally.over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let result = match caller.call().await {
            Ok(None) => return,
            Ok(Some(items)) => {
                tally.note(number, items, begun.elapsed());
                caller.verify().await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            failures.note(&error);
            sleep(AFTER_ERROR).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sleeps a millisecond a call, and fails its third one.
    struct Sleeper(u32, u32);

    impl Caller for Sleeper {
        async fn call(&mut self) -> Result<Option<u64>, CallError> {
            sleep(Duration::from_millis(1)).await;
            self.0 += 1;
            match self.0 {
                3 => Err(CallError::Failed("third".to_owned())),
                calls if calls > self.1 => Ok(None),
                _ => Ok(Some(2)),
            }
        }
    }

    #[tokio::test]
    async fn calls_are_counted_once_they_have_warmed_up() {
        let (failures, meter) = (Arc::default(), Meter::default());
        let window =
            Window { warm_up: Duration::from_millis(50), length: Duration::from_millis(100) };
        let callers = vec![Sleeper(0, u32::MAX), Sleeper(0, u32::MAX)];
        let measured = measure(callers, window, &meter, &failures).await.unwrap();
        assert!(measured.items > 0 && measured.items <= 2 * 200, "{measured:?}");
        assert_eq!(measured.items % 2, 0);
        assert!(measured.p50_ms >= 1.0 && measured.p99_ms >= measured.p50_ms, "{measured:?}");
        assert_eq!((failures.count(), failures.first().len()), (2, 2));
    }

    #[tokio::test]
    async fn it_ends_early_when_nothing_is_left() {
        let window = Window { warm_up: Duration::ZERO, length: Duration::from_secs(60) };
        let begun = Instant::now();
        measure(vec![Sleeper(3, 10)], window, &Meter::default(), &Arc::default()).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
