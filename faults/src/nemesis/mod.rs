//! What breaks things: one fault after the other, each of which is injected, lasts, and is healed.

mod clock;
mod database;
mod network;
mod processes;
mod repeats;
mod restore;
mod schedule;
mod settings;
mod upgrade;

pub(crate) use schedule::run;

use crate::{
    error::Error,
    history::{Incident, Kind, Micros},
    processes::{Postgres, Program, Replica},
    work::Habits,
};
use rand::{Rng, rngs::SmallRng};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// What can be broken, and what is chosen by.
#[derive(Debug)]
pub(crate) struct Rig {
    /// The database.
    pub(crate) postgres: Postgres,
    /// The replicas.
    pub(crate) replicas: Vec<Replica>,
    /// What replicas run after an upgrade.
    pub(crate) next: Program,
    /// What clients are asked to do.
    pub(crate) habits: Arc<Habits>,
    /// What chooses.
    pub(crate) random: SmallRng,
    /// What went wrong with the service, and was overcome.
    pub(crate) incidents: Vec<Incident>,
}

/// A fault that was injected and healed.
#[derive(Debug)]
struct Suffered {
    /// What was done.
    what: String,
    /// When the database was put back to what it was when the fault began, if it was.
    went_back: Option<Micros>,
}

impl From<String> for Suffered {
    fn from(what: String) -> Self {
        Self { what, went_back: None }
    }
}

impl Rig {
    /// Injects a fault, lets it last, heals it, and says what was done.
    async fn suffer(&mut self, kind: Kind) -> Result<Suffered, Error> {
        let what = match kind {
            Kind::Restored => return self.restore_database().await,
            Kind::KillService => self.kill_service().await?,
            Kind::FreezeService => self.freeze_service().await?,
            Kind::RestartService => self.restart_service().await?,
            Kind::Rolling => self.roll().await?,
            Kind::Upgrade => self.upgrade().await?,
            Kind::KillDatabase => self.kill_database().await?,
            Kind::FreezeDatabase => self.freeze_database().await,
            Kind::Cut
            | Kind::CutDatabase
            | Kind::Delay
            | Kind::DelayDatabase
            | Kind::LoseReplies
            | Kind::LoseDatabaseReplies
            | Kind::BlackHole
            | Kind::BlackHoleDatabase => self.fail_network(kind).await,
            Kind::Clock => self.jump_clock().await?,
            Kind::Connections => self.use_up_connections().await?,
            Kind::FullDisk => self.fail_statements(&["53100"]).await?,
            Kind::Statements => self.fail_statements(&["57014", "55P03", "40P01"]).await?,
            Kind::Locked => self.lock_table().await?,
            Kind::LockedRows => self.lock_rows().await?,
            Kind::Skew => self.skew_clocks().await?,
            Kind::HungCommit => self.hang_commits().await?,
            Kind::Repeats => self.repeat_everywhere().await,
            Kind::Settings => self.change_settings().await?,
        };
        Ok(what.into())
    }

    /// Notes replicas that have ended by themselves, and starts them again.
    async fn make_sure_all_live(&mut self) -> Result<(), Error> {
        for number in 0..self.replicas.len() {
            let alive = self.replicas[number].make_sure_it_lives();
            if self.remember(alive)? {
                self.replicas[number].run().await?;
            }
        }
        Ok(())
    }

    /// Whether something went wrong with the service, which is remembered. Other errors are passed on.
    fn remember(&mut self, result: Result<(), Error>) -> Result<bool, Error> {
        match result {
            Ok(()) => Ok(false),
            Err(Error::Service(incident)) => {
                self.incidents.push(incident);
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Lets a fault last.
    async fn last(&mut self, milliseconds: std::ops::Range<u64>) -> Duration {
        let time = Duration::from_millis(self.random.random_range(milliseconds));
        sleep(time).await;
        time
    }

    /// A replica at random.
    fn any(&mut self) -> usize {
        self.random.random_range(0..self.replicas.len())
    }

    /// One replica at random, or all.
    fn some(&mut self) -> Vec<usize> {
        if self.random.random_ratio(1, 3) {
            (0..self.replicas.len()).collect()
        } else {
            vec![self.any()]
        }
    }

    /// Several replicas in words.
    fn names(&self, replicas: &[usize]) -> String {
        let names: Vec<String> = replicas.iter().map(|n| self.replicas[*n].name()).collect();
        names.join(" and ")
    }
}
