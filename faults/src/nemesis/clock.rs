//! Clocks that jump.

use super::Rig;
use crate::error::Error;
use jiff::SignedDuration;
use rand::Rng;

impl Rig {
    /// By less than readiness allows, or by more; forth or back.
    pub(super) async fn jump_clock(&mut self) -> Result<String, Error> {
        let victim = self.any();
        let far = match self.random.random_ratio(1, 3) {
            true => self.random.random_range(100..2000),
            false => self.random.random_range(2000..30_000),
        };
        let sign = if self.random.random() { 1 } else { -1 };
        let by = SignedDuration::from_millis(sign * far);
        self.replicas[victim].move_clock(by).await?;
        let away = self.last(1000..4000).await;
        self.replicas[victim].move_clock(-by).await?;
        let by = by.as_secs_f64();
        Ok(format!("moved the clock of {} by {by:+} s for {away:?}", self.replicas[victim].name()))
    }
}
