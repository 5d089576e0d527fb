//! Clients that repeat their calls word for word, on other replicas, and commits that make them do it.

use super::Rig;
use crate::{error::Error, work::Repeats};

/// Every commit waits for a standby that there is not.
const HANG: &str = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";

/// None waits any more, nor do those that have waited.
const GO_ON: &str = "ALTER SYSTEM RESET synchronous_standby_names";

impl Rig {
    /// What calls have done is committed, and seen by nobody, until the commits go on. Clients don't wait for that.
    pub(super) async fn hang_commits(&mut self) -> Result<String, Error> {
        let admin = self.postgres.admin().await?;
        self.habits.repeat(Repeats::Elsewhere);
        // Calls are under way then.
        self.last(200..400).await;
        let hung = self.postgres.configure(&admin, HANG).await;
        let away = self.last(2000..8000).await;
        let healed = self.postgres.configure(&admin, GO_ON).await;
        // The last try of each call is answered.
        self.last(1200..1300).await;
        self.habits.repeat(Repeats::NowAndThen);
        hung.and(healed)?;
        Ok(format!("commits hung for {away:?}, and calls were repeated elsewhere"))
    }

    /// Clients make each call on all replicas at once.
    pub(super) async fn repeat_everywhere(&mut self) -> String {
        self.habits.repeat(Repeats::Everywhere);
        let away = self.last(2000..6000).await;
        self.habits.repeat(Repeats::NowAndThen);
        format!("each call was made on all replicas at once, for {away:?}")
    }
}
