//! Clocks that jump, and clocks that are off.

use super::Rig;
use crate::error::Error;
use jiff::SignedDuration;
use rand::Rng;

/// How far a clock may be off, in milliseconds: less than the 2 s that are tolerated.
const SKEW: std::ops::RangeInclusive<i64> = 300..=1900;

impl Rig {
    /// By less than readiness allows, or by more; forth or back.
    pub(super) async fn jump_clock(&mut self) -> Result<String, Error> {
        let victim = self.any();
        let far = match self.random.random_ratio(1, 3) {
            true => self.random.random_range(100..2000),
            false => self.random.random_range(2000..30_000),
        };
        let before = self.replicas[victim].clock();
        let by = SignedDuration::from_millis(self.sign() * far);
        self.replicas[victim].set_clock(before + by).await?;
        let away = self.last(1000..4000).await;
        self.replicas[victim].set_clock(before).await?;
        let by = by.as_secs_f64();
        Ok(format!("moved the clock of {} by {by:+} s for {away:?}", self.replicas[victim].name()))
    }

    /// Clocks of replicas are off, each by an error of its own, within what is tolerated. One time in three they stay so.
    pub(super) async fn skew_clocks(&mut self) -> Result<String, Error> {
        let mut errors = Vec::new();
        for victim in self.some() {
            let error = self.sign() * self.random.random_range(SKEW);
            let error = SignedDuration::from_millis(error);
            self.replicas[victim].set_clock(error).await?;
            let name = self.replicas[victim].name();
            errors.push(format!("{name} {:+} s", error.as_secs_f64()));
        }
        let away = self.last(3000..8000).await;
        let stays = self.random.random_ratio(1, 3);
        if !stays {
            for replica in &mut self.replicas {
                replica.set_clock(SignedDuration::ZERO).await?;
            }
        }
        let how_long = if stays { "from then on".to_owned() } else { format!("for {away:?}") };
        Ok(format!("clocks were off {how_long}: {}", errors.join(", ")))
    }

    fn sign(&mut self) -> i64 {
        if self.random.random() { 1 } else { -1 }
    }
}
