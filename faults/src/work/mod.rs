//! The workload: clients of the SDK that invite, and devices that keep their pools.

mod board;
mod choose;
mod classify;
mod device;
mod habits;
mod inviter;
mod names;
mod repeats;
mod voice;
mod worker;

pub(crate) use habits::{Habit, Habits};

use crate::{
    error::Error,
    history::{Caller, Incident, Log},
};
use board::Board;
use keypool_client::{Client, RetryPolicy};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use voice::Voice;
use worker::Worker;

/// One client in so many is impatient.
const IMPATIENT_ONE_IN: u32 = 4;

/// How long calls under way may take to end after the last one was begun.
const END: Duration = Duration::from_secs(30);

/// How the work is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Where the replicas are.
    pub(crate) endpoints: Vec<String>,
    /// How many clients there are.
    pub(crate) clients: u32,
    /// Whether some of them make no retries.
    pub(crate) impatient: bool,
    /// What everything random is made from.
    pub(crate) seed: u64,
}

/// Work under way.
#[derive(Debug)]
pub(crate) struct Work {
    workers: JoinSet<()>,
    enough: CancellationToken,
}

impl Work {
    /// Fills the pools, which may take no longer than it must, and begins to work.
    pub(crate) async fn begin(
        plan: &Plan,
        log: &Arc<Log>,
        habits: &Arc<Habits>,
    ) -> Result<Self, Error> {
        let board = Arc::new(Board::new(plan.clients));
        let enough = CancellationToken::new();
        let mut seeds = SmallRng::seed_from_u64(plan.seed);
        let mut filling = JoinSet::new();
        for number in 0..plan.clients {
            let one_try = plan.impatient && number.is_multiple_of(IMPATIENT_ONE_IN);
            let voice = |one_try, client| Voice {
                caller: Caller { number, one_try },
                client,
                log: log.clone(),
            };
            let patience = if one_try { Patience::LITTLE } else { Patience::MUCH };
            let usual = voice(one_try, connect(&plan.endpoints, patience)?);
            let each = plan.endpoints.iter().map(|endpoint| {
                let client = connect(std::slice::from_ref(endpoint), Patience::WITH_ONE)?;
                Ok(voice(true, client))
            });
            let each = each.collect::<Result<Vec<_>, Error>>()?;
            let random = SmallRng::seed_from_u64(seeds.random());
            let worker = Worker::new(usual, each, random, board.clone(), habits.clone());
            filling.spawn(worker.fill(board.share(number, plan.clients)));
        }
        let mut work = Self { workers: JoinSet::new(), enough };
        while let Some(worker) = filling.join_next().await {
            work.workers.spawn(worker?.run(work.enough.clone()));
        }
        Ok(work)
    }

    /// Begins no more calls, and waits for those under way. What does not end is written down and left.
    pub(crate) async fn end(mut self) -> Result<(), Error> {
        self.enough.cancel();
        let ending = async {
            while let Some(worker) = self.workers.join_next().await {
                worker?;
            }
            Ok(())
        };
        match timeout(END, ending).await {
            Ok(ended) => ended,
            Err(_) => {
                let hung = self.workers.len();
                // In vain for a worker that never gives way.
                let _ = timeout(END, self.workers.shutdown()).await;
                let what = format!("{hung} clients waited for a call that did not end in {END:?}");
                Err(Error::Service(Incident::Hang(what)))
            }
        }
    }
}

/// How long a client waits for an answer, and whether it tries again.
#[derive(Debug, Clone, Copy)]
struct Patience {
    time: Duration,
    retries: bool,
}

impl Patience {
    const MUCH: Self = Self { time: Duration::from_secs(4), retries: true };
    const LITTLE: Self = Self { time: Duration::from_millis(400), retries: false };
    /// ... with a certain replica.
    const WITH_ONE: Self = Self { time: Duration::from_secs(1), retries: false };
}

/// A client of these replicas.
fn connect(endpoints: &[String], patience: Patience) -> Result<Client, Error> {
    let [first, others @ ..] = endpoints else {
        return Err(Error::Usage("there is no replica".to_owned()));
    };
    let mut builder =
        others.iter().fold(Client::builder(first), |builder, endpoint| builder.endpoint(endpoint));
    builder = builder.timeout(patience.time);
    if !patience.retries {
        builder = builder.retry(RetryPolicy::never());
    }
    Ok(builder.connect_lazy()?)
}
