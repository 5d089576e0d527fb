//! Offers calls by time: each is due at its moment, whatever became of those before. So a service that falls behind is not
//! spared, and the time that a call waits to be sent counts.

use super::{CallError, Failures, Latencies, Meter, Window, meter::Used};
use crate::error::Error;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

/// How often a sender looks which calls are due.
const TICK: Duration = Duration::from_millis(1);

/// How long after its deadline a call must have ended.
const DRAIN: Duration = Duration::from_secs(5);

/// What is offered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    /// Calls a second, of all senders together.
    pub(crate) per_second: f64,
    /// How long after it was due a call must be answered.
    pub(crate) deadline: Duration,
    /// What is counted are the calls that are due in it.
    pub(crate) window: Window,
}

/// Something that makes calls without waiting for their answers.
pub(crate) trait Sender: Send + 'static {
    /// Makes a call, which is to be answered within some time.
    fn send(&mut self, within: Duration) -> impl Future<Output = Answer> + Send + 'static;
}

/// How the service answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// With what was asked for.
    Done,
    /// It is overloaded.
    Overloaded,
    /// The deadline passed.
    Late,
    /// Otherwise, as it must not.
    Failed(CallError),
}

/// What became of the calls.
#[derive(Debug, Default)]
struct Tally {
    done: AtomicU64,
    overloaded: AtomicU64,
    late: AtomicU64,
    unsent: AtomicU64,
    /// From when they were due until they were done.
    latencies: Latencies,
    /// From when they were due until they were refused.
    refusals: Latencies,
}

/// What became of what was offered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// How long it took.
    pub(crate) seconds: f64,
    /// Calls that were done in time.
    pub(crate) done: u64,
    /// Calls that were refused as OVERLOADED.
    pub(crate) overloaded: u64,
    /// Calls whose deadline passed after they were sent.
    pub(crate) late: u64,
    /// Calls whose deadline passed before this process came to send them.
    pub(crate) unsent: u64,
    /// Half of the calls that were done took less, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99 of 100 calls that were done took less, in milliseconds.
    pub(crate) p99_ms: f64,
    /// Half of the refusals took less, in milliseconds.
    pub(crate) refused_p50_ms: f64,
    /// What it used up meanwhile.
    pub(crate) used: Used,
}

/// Offers calls.
pub(crate) async fn offer<S: Sender>(
    senders: Vec<S>,
    offer: Offer,
    meter: &Meter<'_>,
    failures: &Arc<Failures>,
) -> Result<Taken, Error> {
    let tally = Arc::new(Tally::default());
    let begins = Instant::now() + TICK;
    let counted = begins + offer.window.warm_up;
    let ends = counted + offer.window.length;
    #[expect(clippy::cast_precision_loss, reason = "a few senders")]
    let step = Duration::from_secs_f64(senders.len() as f64 / offer.per_second.max(1.0));
    let mut tasks = JoinSet::new();
    for (number, sender) in (0..).zip(senders) {
        let plan = Plan {
            number: number as usize,
            // Senders take turns, and don't send all at once.
            first: begins + TICK * number / 8,
            step,
            counted,
            ends,
            deadline: offer.deadline,
        };
        tasks.spawn(keep_sending(sender, plan, tally.clone(), failures.clone()));
    }
    sleep_until(counted).await;
    let before = meter.read().await?;
    sleep_until(ends).await;
    let used = meter.read().await?.since(&before);
    let drain = async {
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok::<(), Error>(())
    };
    let within = offer.deadline + DRAIN;
    timeout_at(Instant::now() + within, drain).await.map_err(|_| Error::Hang(within))??;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Ok(Taken {
        seconds: offer.window.length.as_secs_f64(),
        done: count(&tally.done),
        overloaded: count(&tally.overloaded),
        late: count(&tally.late),
        unsent: count(&tally.unsent),
        p50_ms: tally.latencies.quantile_ms(0.5),
        p99_ms: tally.latencies.quantile_ms(0.99),
        refused_p50_ms: tally.refusals.quantile_ms(0.5),
        used,
    })
}

/// When one sender sends.
#[derive(Debug, Clone, Copy)]
struct Plan {
    number: usize,
    first: Instant,
    step: Duration,
    /// Calls that are due from here on are counted.
    counted: Instant,
    ends: Instant,
    deadline: Duration,
}

/// Sends what is due until the end, and waits for the answers.
async fn keep_sending<S: Sender>(
    mut sender: S,
    plan: Plan,
    tally: Arc<Tally>,
    failures: Arc<Failures>,
) {
    let mut under_way = JoinSet::new();
    let mut due = plan.first;
    while due < plan.ends {
        let now = Instant::now();
        while due <= now && due < plan.ends {
            let (called, deadline) = (due, due + plan.deadline);
            due += plan.step;
            let is_counted = called >= plan.counted;
            if deadline <= now {
                tally.unsent.fetch_add(u64::from(is_counted), Ordering::Relaxed);
                continue;
            }
            let answer = sender.send(deadline - now);
            let (tally, failures) = (tally.clone(), failures.clone());
            under_way.spawn(async move {
                let mut answer = timeout_at(deadline, answer).await.unwrap_or(Answer::Late);
                let took = called.elapsed();
                match &answer {
                    Answer::Failed(error) => failures.note(error),
                    // Its answer was there before this process looked.
                    _ if took > plan.deadline => answer = Answer::Late,
                    _ => {}
                }
                if is_counted {
                    tally.note(plan.number, &answer, took);
                }
            });
        }
        while under_way.try_join_next().is_some() {}
        sleep_until(due.max(now + TICK)).await;
    }
    while under_way.join_next().await.is_some() {}
}

impl Tally {
    fn note(&self, sender: usize, answer: &Answer, took: Duration) {
        let count = match answer {
            Answer::Done => {
                self.latencies.record(sender, took);
                &self.done
            }
            Answer::Overloaded => {
                self.refusals.record(sender, took);
                &self.overloaded
            }
            Answer::Late => &self.late,
            Answer::Failed(_) => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    /// Answers every third call never, and the others late or soon in turn.
    struct Third(u32);

    impl Sender for Third {
        fn send(&mut self, _within: Duration) -> impl Future<Output = Answer> + Send + 'static {
            self.0 += 1;
            let call = self.0;
            async move {
                match call % 3 {
                    0 => std::future::pending().await,
                    1 => Answer::Overloaded,
                    _ => {
                        sleep(Duration::from_millis(20)).await;
                        Answer::Done
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn calls_are_offered_by_time_and_each_is_counted_once() {
        let window =
            Window { warm_up: Duration::from_millis(60), length: Duration::from_millis(300) };
        let deadline = Duration::from_millis(500);
        let what = Offer { per_second: 1000.0, deadline, window };
        let (meter, failures) = (Meter::default(), Arc::default());
        let taken = offer(vec![Third(0), Third(0)], what, &meter, &failures).await.unwrap();
        let all = taken.done + taken.overloaded + taken.late + taken.unsent;
        assert!((298..=302).contains(&all), "{taken:?}");
        assert!(taken.done > 0 && taken.overloaded > 0 && taken.late > 0, "{taken:?}");
        assert!(taken.p50_ms >= 20.0, "{taken:?}");
    }
}
