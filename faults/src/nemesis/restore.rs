//! A database that is restored in the same cluster, and so knows less than it told.

use super::{Rig, Suffered};
use crate::{error::Error, history::Micros};
use rand::Rng;
use std::time::Duration;
use tokio::time::sleep;

impl Rig {
    /// Dumps the database, lets clients go on, and restores what was dumped, into a new database of the same name.
    ///
    /// One time in two the replicas are stopped meanwhile, as the runbook says, so that none remembers anything; else they run
    /// and find the database away.
    pub(super) async fn restore_database(&mut self) -> Result<Suffered, Error> {
        self.habits.note_used(true);
        let dump = self.postgres.dump().await?;
        let forgotten = self.last(2000..5000).await;
        let is_stopped = self.random.random_ratio(1, 2);
        let went_back = Micros::now();
        for number in 0..self.replicas.len() {
            if is_stopped {
                let stopped = self.replicas[number].stop().await;
                self.remember(stopped)?;
            } else {
                self.replicas[number].back.refuse();
                self.replicas[number].back.cut();
            }
        }
        self.postgres.restore(&dump).await?;
        for replica in &mut self.replicas {
            match is_stopped {
                true => replica.run().await?,
                false => replica.back.heal(),
            }
        }
        // What was under way is over, and no device names any more what is used up.
        sleep(Duration::from_secs(1)).await;
        self.habits.note_used(false);
        let replicas = if is_stopped { "stopped" } else { "running" };
        let what =
            format!("restored the database to {forgotten:?} before, with {replicas} replicas");
        Ok(Suffered { what, went_back: Some(went_back) })
    }
}
