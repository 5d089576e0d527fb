//! Clients that repeat their calls word for word, on other replicas, and commits that make them do it.

use super::Rig;
use crate::{error::Error, work::Habit};
use rand::Rng;
use std::ops::Range;

/// For how long commits hang that go on while a second replica waits for what the first has locked, in milliseconds.
const UNTIL_A_REPEAT: Range<u64> = 1200..2000;

/// For how long others hang: past the time for which replicas wait.
const LONG: Range<u64> = 2000..8000;

/// Every commit waits for a standby that there is not.
const HANG: &str = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";

/// None waits any more, nor do those that have waited.
const GO_ON: &str = "ALTER SYSTEM RESET synchronous_standby_names";

impl Rig {
    /// What calls have done is committed, and seen by nobody, until the commits go on. Clients don't wait for that.
    pub(super) async fn hang_commits(&mut self) -> Result<String, Error> {
        let admin = self.postgres.admin().await?;
        let first = self.any();
        let is_busy = self.random.random();
        let habit = if is_busy { Habit::Elsewhere } else { Habit::FewElsewhere(first) };
        if !is_busy {
            // Else what is under way keeps all replicas busy.
            self.habits.set(Habit::Rest);
            self.last(300..500).await;
        }
        let hung = self.postgres.configure(&admin, HANG).await;
        self.habits.set(habit);
        let how_long = if self.random.random_ratio(2, 3) { UNTIL_A_REPEAT } else { LONG };
        let away = self.last(how_long).await;
        let healed = self.postgres.configure(&admin, GO_ON).await;
        self.habits.set(Habit::Usual);
        hung.and(healed)?;
        let whose = if is_busy { "all clients" } else { "a few clients" };
        Ok(format!("commits of {whose} hung for {away:?}, and calls were repeated elsewhere"))
    }

    /// Clients make each call on all replicas at once.
    pub(super) async fn repeat_everywhere(&mut self) -> String {
        self.habits.set(Habit::Everywhere);
        let away = self.last(2000..6000).await;
        self.habits.set(Habit::Usual);
        format!("each call was made on all replicas at once, for {away:?}")
    }
}
