//! One run: a network, replicas, callers and a nemesis, all from one seed.

use std::time::Duration;

use jiff::SignedDuration;
use keypool_client::{Client, ClientBuilder};
use keypool_service::limits::Rates;
use keypool_service::pool::Policy;
use turmoil::{Builder, Sim};

use crate::database::Database;
use crate::nemesis::Nemesis;
use crate::replica::{self, PORT, Stop};
use crate::stock;
use crate::{device, inviter, network};

/// How finely time passes for the network.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The nemesis is at work for so long.
pub(crate) const TROUBLE: Duration = Duration::from_secs(8);

/// All of a call's time.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(4);

/// What may go wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Links between callers and replicas are cut: messages are lost.
    pub(crate) cuts: bool,
    /// Messages between callers and replicas are held, and slow.
    pub(crate) holds: bool,
    /// Replicas are killed, and start again.
    pub(crate) crashes: bool,
    /// Replicas are stopped as an operator does, and start again.
    pub(crate) drains: bool,
    /// Replicas lose their database, wait for it, refuse calls, and lose answers.
    pub(crate) database: bool,
}

impl Scenario {
    /// No message is late: what comes late was sent late.
    pub(crate) fn is_timely(&self) -> bool {
        !self.holds
    }

    /// No message is lost either, so that what comes to the pool tells what callers knew.
    pub(crate) fn is_heard(&self) -> bool {
        !self.holds && !self.cuts && !self.crashes && !self.drains
    }

    /// How long after the last fault a call succeeds: two calls may be needed where connections are
    /// dead.
    pub(crate) fn recovers_within(&self) -> Duration {
        TIMEOUT * if self.cuts { 3 } else { 1 }
    }

    /// How long after the last change a watcher knows of it. What a cut leaves behind is a
    /// connection that says nothing any more: the client's pings find out.
    pub(crate) fn tells_within(&self) -> Duration {
        Duration::from_secs(if self.cuts { 50 } else { 8 })
    }
}

/// What a run was like.
pub(crate) struct Report {
    pub(crate) trace: Vec<String>,
    pub(crate) violations: Vec<String>,
    pub(crate) done: u32,
    pub(crate) failed: u32,
    pub(crate) tries: u32,
}

const REPLICAS: usize = 3;
const INVITERS: usize = 3;

/// Small numbers, so that pools run low.
pub(crate) fn policy() -> Policy {
    Policy {
        low_watermark: 3,
        rates: Rates::UNLIMITED,
        default_hold: SignedDuration::from_secs(5),
        ..Policy::default()
    }
}

/// Runs a seed.
pub(crate) fn run(scenario: Scenario, seed: u64) -> Report {
    // Whence the delays before retries get their jitter.
    fastrand::seed(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let database = Database::new(random.u64(..), REPLICAS, policy());
    let mut sim: Sim<'_> = Builder::new()
        .rng_seed(random.u64(..))
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(300))
        .tcp_capacity(4096)
        .build();

    let stops: Vec<Stop> = (0..REPLICAS).map(|_| Stop::default()).collect();
    for (number, stop) in stops.iter().enumerate() {
        let (database, stop) = (database.clone(), stop.clone());
        sim.host(replica::name(number), move || {
            replica::serve(database.clone(), number, scenario, stop.clone())
        });
    }
    let mut callers = Vec::new();
    for owner in stock::owners() {
        let name = format!("{}-{}", owner.user, owner.device);
        sim.client(name.as_str(), device::run(owner, database.clone(), scenario, random.fork()));
        callers.push(name);
    }
    for number in 0..INVITERS {
        let name = inviter::name(number);
        sim.client(name.as_str(), inviter::run(number, database.clone(), scenario, random.fork()));
        callers.push(name);
    }
    database.now().expects(callers.len());
    let mut nemesis = Nemesis::new(scenario, callers, stops, random.fork());
    nemesis.prepare(&sim);

    let failure = loop {
        match sim.step() {
            Ok(true) => break None,
            Ok(false) => {}
            Err(error) => break Some(error.to_string()),
        }
        {
            let mut state = database.now();
            state.pass(sim.elapsed());
            state.check();
            if !state.violations.is_empty() {
                break None;
            }
        }
        nemesis.act(&mut sim, &database);
    };
    let mut state = database.now();
    if let Some(failure) = failure {
        state.violated(format!("the run ended: {failure}"));
    }
    state.check_books();
    Report {
        trace: std::mem::take(&mut state.trace),
        violations: std::mem::take(&mut state.violations),
        done: state.told.done,
        failed: state.told.failed,
        tries: state.told.tries,
    }
}

/// A client of all replicas, in an order of its own.
pub(crate) fn client(random: &mut fastrand::Rng) -> ClientBuilder {
    let mut order: Vec<usize> = (0..REPLICAS).collect();
    random.shuffle(&mut order);
    let mut names = order.into_iter().map(|one| format!("http://{}:{PORT}", replica::name(one)));
    let builder = Client::builder(names.next().unwrap());
    names.fold(builder, ClientBuilder::endpoint).timeout(TIMEOUT).dial(network::dial)
}
