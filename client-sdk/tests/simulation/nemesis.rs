//! What goes wrong, and when.

use std::time::Duration;

use turmoil::Sim;

use crate::database::Database;
use crate::replica::{self, Stop};
use crate::simulation::{Scenario, TROUBLE};

/// A fault, by the numbers of a caller and a replica.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Messages between them are lost.
    Cut(usize, usize),
    /// Messages between the caller and all replicas are lost.
    CutOff(usize),
    /// Messages between them wait until it is over.
    Hold(usize, usize),
    /// Messages between them take this many milliseconds.
    Delay(usize, usize, u64),
    Crash(usize),
    Drain(usize),
    /// The replica can't reach the database.
    Away(usize),
    /// Statements take this many milliseconds at most.
    Slow(usize, u64),
    /// Of a hundred answers of the database, so many are lost.
    Lossy(usize, u8),
    /// Of a hundred calls, so many are refused.
    Refusing(usize, u8),
}

/// A fault that begins or ends.
#[derive(Debug, Clone, Copy)]
struct Event {
    at: Duration,
    fault: Fault,
    begins: bool,
}

pub(crate) struct Nemesis {
    callers: Vec<String>,
    stops: Vec<Stop>,
    /// What messages take between each caller and each replica. What they take at random would go
    /// by the order in which a replica's connections end with it, which is nobody's.
    latencies: Vec<Vec<Duration>>,
    /// The next one last.
    events: Vec<Event>,
    healed: bool,
}

impl Nemesis {
    pub(crate) fn new(
        scenario: Scenario,
        callers: Vec<String>,
        stops: Vec<Stop>,
        mut random: fastrand::Rng,
    ) -> Self {
        let mut events = Vec::new();
        for _ in 0..random.usize(4..14) {
            let fault = fault(scenario, callers.len(), stops.len(), &mut random);
            let begin = Duration::from_millis(random.u64(200..TROUBLE.as_millis() as u64));
            let end = begin + Duration::from_millis(random.u64(20..4000));
            events.push(Event { at: begin, fault, begins: true });
            events.push(Event { at: end, fault, begins: false });
        }
        events.retain(|event| event.at < TROUBLE);
        events.sort_by_key(|event| std::cmp::Reverse(event.at));
        let mut latency = || Duration::from_micros(random.u64(500..15_000));
        let mut of_caller = || stops.iter().map(|_| latency()).collect();
        let latencies = callers.iter().map(|_| of_caller()).collect();
        Self { callers, stops, latencies, events, healed: false }
    }

    /// Sets the network up.
    pub(crate) fn prepare(&self, sim: &Sim<'_>) {
        for caller in 0..self.callers.len() {
            for number in 0..self.stops.len() {
                self.set_latency(sim, caller, number, self.latencies[caller][number]);
            }
        }
    }

    fn set_latency(&self, sim: &Sim<'_>, caller: usize, number: usize, latency: Duration) {
        sim.set_link_latency(self.callers[caller].as_str(), replica::name(number), latency);
    }

    /// Does what it is time for.
    pub(crate) fn act(&mut self, sim: &mut Sim<'_>, database: &Database) {
        if self.healed {
            return;
        }
        while let Some(event) = self.events.pop_if(|event| event.at <= sim.elapsed()) {
            let what = if event.begins { "begins" } else { "ends" };
            database.now().note(format!("nemesis: {:?} {what}", event.fault));
            match event.begins {
                true => self.begin(event.fault, sim, database),
                false => self.end(event.fault, sim, database),
            }
        }
        if sim.elapsed() >= TROUBLE {
            self.heal(sim, database);
        }
    }

    fn begin(&self, fault: Fault, sim: &mut Sim<'_>, database: &Database) {
        match fault {
            Fault::Cut(caller, number) => {
                sim.partition(self.callers[caller].as_str(), replica::name(number));
            }
            Fault::CutOff(caller) => {
                for number in 0..self.stops.len() {
                    sim.partition(self.callers[caller].as_str(), replica::name(number));
                }
            }
            Fault::Hold(caller, number) => {
                sim.hold(self.callers[caller].as_str(), replica::name(number));
            }
            Fault::Delay(caller, number, latency) => {
                self.set_latency(sim, caller, number, Duration::from_millis(latency));
            }
            Fault::Crash(number) if sim.is_host_running(replica::name(number)) => {
                database.now().links[number].life += 1;
                sim.crash(replica::name(number));
            }
            Fault::Crash(_) => {}
            Fault::Drain(number) => self.stops[number].stop(),
            Fault::Away(number) => database.now().links[number].up = false,
            Fault::Slow(number, most) => {
                database.now().links[number].slow = Duration::from_millis(most);
            }
            Fault::Lossy(number, share) => database.now().links[number].loses = share,
            Fault::Refusing(number, share) => database.now().links[number].refuses = share,
        }
    }

    fn end(&self, fault: Fault, sim: &mut Sim<'_>, database: &Database) {
        match fault {
            Fault::Cut(caller, number) => {
                sim.repair(self.callers[caller].as_str(), replica::name(number));
            }
            Fault::CutOff(caller) => {
                for number in 0..self.stops.len() {
                    sim.repair(self.callers[caller].as_str(), replica::name(number));
                }
            }
            Fault::Hold(caller, number) => {
                sim.release(self.callers[caller].as_str(), replica::name(number));
            }
            Fault::Delay(caller, number, _) => {
                self.set_latency(sim, caller, number, self.latencies[caller][number]);
            }
            Fault::Crash(number) | Fault::Drain(number) => revive(number, sim, database),
            Fault::Away(number)
            | Fault::Slow(number, _)
            | Fault::Lossy(number, _)
            | Fault::Refusing(number, _) => database.now().links[number].calm_down(),
        }
    }

    fn heal(&mut self, sim: &mut Sim<'_>, database: &Database) {
        for number in 0..self.stops.len() {
            for caller in 0..self.callers.len() {
                for fault in [
                    Fault::Hold(caller, number),
                    Fault::Cut(caller, number),
                    Fault::Delay(caller, number, 0),
                ] {
                    self.end(fault, sim, database);
                }
            }
            revive(number, sim, database);
            database.now().links[number].calm_down();
        }
        // One that drains still: it comes back when it has stopped.
        self.healed = (0..self.stops.len()).all(|number| !self.stops[number].is_stopping());
        if self.healed {
            let mut state = database.now();
            state.note("nemesis: all is healed");
            state.healed = true;
        }
    }
}

fn revive(number: usize, sim: &mut Sim<'_>, database: &Database) {
    if !sim.is_host_running(replica::name(number)) {
        database.now().links[number].life += 1;
        sim.bounce(replica::name(number));
    }
}

fn fault(scenario: Scenario, callers: usize, replicas: usize, random: &mut fastrand::Rng) -> Fault {
    loop {
        let (caller, replica) = (random.usize(..callers), random.usize(..replicas));
        let fault = match random.u8(..10) {
            0 => Fault::Cut(caller, replica),
            1 => Fault::Hold(caller, replica),
            2 => Fault::Delay(caller, replica, random.u64(20..1500)),
            3 => Fault::Crash(replica),
            4 => Fault::Drain(replica),
            5 => Fault::Away(replica),
            6 => Fault::Slow(replica, random.u64(50..12_000)),
            7 => Fault::CutOff(caller),
            8 => Fault::Lossy(replica, random.u8(10..90)),
            _ => Fault::Refusing(replica, random.u8(10..90)),
        };
        let wanted = match fault {
            Fault::Cut(..) | Fault::CutOff(_) => scenario.cuts,
            Fault::Hold(..) | Fault::Delay(..) => scenario.holds,
            Fault::Crash(_) => scenario.crashes,
            Fault::Drain(_) => scenario.drains,
            _ => scenario.database,
        };
        if wanted {
            return fault;
        }
    }
}
