//! Connections that break, hang, or lose something.

use super::Rig;
use crate::{history::Kind, network::Link};
use rand::Rng;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long connections last while they are cut.
const BETWEEN_CUTS: Duration = Duration::from_millis(50);

impl Rig {
    pub(super) async fn fail_network(&mut self, kind: Kind) -> String {
        let victims = self.some();
        let delay = Duration::from_millis(self.random.random_range(20..400));
        let is_back = matches!(
            kind,
            Kind::CutDatabase
                | Kind::DelayDatabase
                | Kind::LoseDatabaseReplies
                | Kind::BlackHoleDatabase
        );
        let refuses = self.random.random_ratio(1, 2);
        let fail = |link: &Link| match kind {
            Kind::Cut | Kind::CutDatabase => {
                if refuses {
                    link.refuse();
                }
                link.cut();
            }
            Kind::Delay | Kind::DelayDatabase => link.delay(delay),
            Kind::LoseReplies | Kind::LoseDatabaseReplies => link.lose_replies(),
            _ => link.swallow(),
        };
        let away = Duration::from_millis(self.random.random_range(300..2500));
        let is_cut = matches!(kind, Kind::Cut | Kind::CutDatabase);
        let end = Instant::now() + away;
        while Instant::now() < end {
            for victim in &victims {
                fail(self.link(*victim, is_back));
            }
            // Connections that were made anew break again: one cut may hit a moment without a call.
            let next = if is_cut { Instant::now() + BETWEEN_CUTS } else { end };
            sleep_until(next.min(end)).await;
        }
        for victim in &victims {
            self.link(*victim, is_back).heal();
        }
        let between = if is_back { "and the database" } else { "and clients" };
        format!("between {} {between}, for {away:?}", self.names(&victims))
    }

    fn link(&self, replica: usize, is_back: bool) -> &Link {
        let replica = &self.replicas[replica];
        if is_back { &replica.back } else { &replica.front }
    }
}
