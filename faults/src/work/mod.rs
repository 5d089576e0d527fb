//! The workload: clients of the SDK that invite, and devices that keep their pools.

mod board;
mod choose;
mod classify;
mod device;
mod inviter;
mod worker;

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
use worker::Worker;

/// How long the calls of most clients may take, retries included.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long those of the others may take, who make no retries.
const IMPATIENCE: Duration = Duration::from_millis(400);

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
    pub(crate) async fn begin(plan: &Plan, log: &Arc<Log>) -> Result<Self, Error> {
        let board = Arc::new(Board::new(plan.clients));
        let enough = CancellationToken::new();
        let mut seeds = SmallRng::seed_from_u64(plan.seed);
        let mut filling = JoinSet::new();
        for number in 0..plan.clients {
            let one_try = plan.impatient && number.is_multiple_of(IMPATIENT_ONE_IN);
            let client = connect(&plan.endpoints, one_try)?;
            let caller = Caller { number, one_try };
            let random = SmallRng::seed_from_u64(seeds.random());
            let worker = Worker::new(caller, client, random, board.clone(), log.clone());
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

/// A client of all the replicas.
fn connect(endpoints: &[String], one_try: bool) -> Result<Client, Error> {
    let [first, others @ ..] = endpoints else {
        return Err(Error::Usage("there is no replica".to_owned()));
    };
    let mut builder =
        others.iter().fold(Client::builder(first), |builder, endpoint| builder.endpoint(endpoint));
    builder = match one_try {
        true => builder.timeout(IMPATIENCE).retry(RetryPolicy::never()),
        false => builder.timeout(PATIENCE),
    };
    Ok(builder.connect_lazy()?)
}
