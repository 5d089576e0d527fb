//! What limited holders may be given.

use super::wants::PartWant;
use crate::{
    limits::{Limit, Limited, Limits, Tokens},
    store::{DeviceKey, LiveHolds, Session, StoreError, Want},
    types::Holder,
};
use jiff::Timestamp;
use std::{collections::HashMap, sync::Arc};

/// What a want is charged for, and so what it may be given. Dropped, it takes the charge back: nothing was handed out for it.
#[derive(Debug)]
pub(super) enum Charge {
    /// Any package: the holder is not limited.
    Unlimited,
    /// Any package, if it is within the holder's fair share; else none of the last that nobody has seen.
    OneTime {
        handed_out: Tokens,
        one_time: Option<Tokens>,
        fair_share: Result<Option<Tokens>, Limited>,
    },
    /// Only the last resort: too many of the device's one-time packages went out lately.
    LastResort { handed_out: Tokens, limited: Limited },
}

impl Charge {
    /// What it may be given of the device's one-time packages.
    pub(super) fn allows(&self) -> OneTime {
        match self {
            Self::Unlimited | Self::OneTime { fair_share: Ok(_), .. } => OneTime::Any,
            Self::OneTime { fair_share: Err(_), .. } => OneTime::Spare,
            Self::LastResort { .. } => OneTime::No,
        }
    }

    /// The limit that allows some packages only.
    pub(super) fn limited(&self) -> Option<Limited> {
        match self {
            Self::LastResort { limited, .. } | Self::OneTime { fair_share: Err(limited), .. } => {
                Some(*limited)
            }
            Self::Unlimited | Self::OneTime { fair_share: Ok(_), .. } => None,
        }
    }

    /// Makes it final: a package was handed out for it.
    pub(super) fn handed_out(self, last_resort: bool) {
        match self {
            Self::Unlimited => {}
            Self::OneTime { handed_out, one_time, fair_share } => {
                handed_out.used();
                if !last_resort {
                    let fair_share = fair_share.unwrap_or_default();
                    one_time.into_iter().chain(fair_share).for_each(Tokens::used);
                }
            }
            Self::LastResort { handed_out, .. } => handed_out.used(),
        }
    }
}

/// Which one-time packages of a device may be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OneTime {
    /// Any.
    Any,
    /// Those that the holder has seen before, and others but for the last.
    Spare,
    /// None.
    No,
}

/// A device and a holder, whose live holds on it are counted.
pub(super) type Pair = (DeviceKey, Holder);

pub(super) fn pair(want: &Want) -> Pair {
    (want.device.clone(), want.holder.clone())
}

/// The live holds of a limited holder on a device.
struct Holds {
    most: u64,
    left: u64,
    /// When the first of them ends; none if there are none.
    first_end: Option<Timestamp>,
}

/// What limited holders may still be given of devices. Holders that it does not name are not limited.
pub(super) struct Budget {
    limits: Arc<Limits>,
    now: Timestamp,
    holds: HashMap<Pair, Holds>,
}

impl Budget {
    /// What is left of the wants' limits by the holds that live now.
    pub(super) async fn of(
        session: &mut Session,
        limits: Arc<Limits>,
        wants: &[PartWant],
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut this = Self { limits, now, holds: HashMap::new() };
        for PartWant { want, max_holds, .. } in wants {
            if let Some(most) = max_holds.map(u64::from) {
                this.holds.insert(pair(want), Holds { most, left: most, first_end: None });
            }
        }
        let wants: Vec<&Want> = wants.iter().map(|want| &want.want).collect();
        for (pair, live) in this.live(session, &wants).await? {
            if let Some(holds) = this.holds.get_mut(&pair) {
                holds.left = holds.most.saturating_sub(live.count);
                holds.first_end = Some(live.first_end);
            }
        }
        Ok(this)
    }

    /// By how many the takers have more live holds than they may, and how long that lasts.
    pub(super) async fn excess(
        &self,
        session: &mut Session,
        takers: &[&Want],
    ) -> Result<HashMap<Pair, (u64, Limited)>, StoreError> {
        let live = self.live(session, takers).await?;
        let excess = |(pair, live): (Pair, LiveHolds)| {
            let most = self.holds.get(&pair)?.most;
            let limited = self.too_many_holds(live.first_end);
            (live.count > most).then(|| (pair, (live.count - most, limited)))
        };
        Ok(live.into_iter().filter_map(excess).collect())
    }

    /// The live holds on the devices of those wants that are limited.
    async fn live(
        &self,
        session: &mut Session,
        wants: &[&Want],
    ) -> Result<Vec<(Pair, LiveHolds)>, StoreError> {
        if self.holds.is_empty() {
            return Ok(Vec::new());
        }
        let limited = wants.iter().filter(|want| self.holds.contains_key(&pair(want)));
        let mut devices: Vec<&DeviceKey> = limited.map(|want| &want.device).collect();
        devices.dedup();
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let live = session.live_holds(&devices, self.now).await?;
        let named = |((device, holder), live): ((usize, Holder), LiveHolds)| {
            ((devices[device].clone(), holder), live)
        };
        Ok(live.into_iter().map(named).collect())
    }

    /// Charges one package to the limits of a want's holder. Of the limits that refuse it, the error names the one that lasts
    /// longest: once it is waited out, none of them refuses.
    pub(super) fn charge(&mut self, want: &Want) -> Result<Charge, Limited> {
        if self.holds.is_empty() {
            return Ok(Charge::Unlimited);
        }
        let Some(holds) = self.holds.get_mut(&pair(want)) else { return Ok(Charge::Unlimited) };
        let too_many_holds =
            (holds.left == 0).then_some(holds.first_end.unwrap_or(want.held_until));
        let handed_out = self.limits.hand_out(&want.holder, &want.device, self.now);
        match (handed_out, too_many_holds) {
            (Err(limited), Some(end)) => Err(limited.longer(self.too_many_holds(end))),
            (Ok(_), Some(end)) => Err(self.too_many_holds(end)),
            (Err(limited), None) => Err(limited),
            (Ok(handed_out), None) => {
                holds.left -= 1;
                let fair_share = self.limits.fair_share(&want.holder, &want.device, self.now);
                Ok(
                    match self.limits.one_time(
                        &want.holder,
                        &want.device,
                        fair_share.is_ok(),
                        self.now,
                    ) {
                        Ok(one_time) => Charge::OneTime { handed_out, one_time, fair_share },
                        Err(limited) => Charge::LastResort { handed_out, limited },
                    },
                )
            }
        }
    }

    /// Counts a hold less: the want got none.
    pub(super) fn no_hold(&mut self, want: &Want) {
        if let Some(holds) = self.holds.get_mut(&pair(want)) {
            holds.left += 1;
        }
    }

    fn too_many_holds(&self, end: Timestamp) -> Limited {
        let wait = end.duration_since(self.now).max(jiff::SignedDuration::from_millis(1));
        Limited { limit: Limit::Holds, wait }
    }
}
