//! What limited holders may be given.

use super::wants::PartWant;
use crate::{
    limits::{Limit, Limits},
    store::{DeviceKey, Session, StoreError, Want},
    types::Holder,
};
use jiff::Timestamp;
use std::{collections::HashMap, sync::Arc};

/// What a want may be given.
#[derive(Debug, Clone, Copy)]
pub(super) enum Allowance {
    /// Any package.
    OneTime,
    /// Only the last resort: too many of the device's one-time packages went out lately.
    LastResort,
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
                this.holds.insert(pair(want), Holds { most, left: most });
            }
        }
        let wants: Vec<&Want> = wants.iter().map(|want| &want.want).collect();
        for (pair, live) in this.live(session, &wants).await? {
            if let Some(holds) = this.holds.get_mut(&pair) {
                holds.left = holds.most.saturating_sub(live);
            }
        }
        Ok(this)
    }

    /// By how many the takers have more live holds than they may.
    pub(super) async fn excess(
        &self,
        session: &mut Session,
        takers: &[&Want],
    ) -> Result<HashMap<Pair, u64>, StoreError> {
        let live = self.live(session, takers).await?;
        let excess = |(pair, live): (Pair, u64)| {
            let most = self.holds.get(&pair)?.most;
            (live > most).then(|| (pair, live - most))
        };
        Ok(live.into_iter().filter_map(excess).collect())
    }

    /// How many live holds there are on the devices of those wants that are limited.
    async fn live(
        &self,
        session: &mut Session,
        wants: &[&Want],
    ) -> Result<Vec<(Pair, u64)>, StoreError> {
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
        let named = |((device, holder), live): ((usize, Holder), u64)| {
            ((devices[device].clone(), holder), live)
        };
        Ok(live.into_iter().map(named).collect())
    }

    /// Charges one package to the limits of a want's holder, and says of which kind it may be.
    pub(super) fn charge(&mut self, want: &Want) -> Result<Allowance, Limit> {
        if self.holds.is_empty() {
            return Ok(Allowance::OneTime);
        }
        let Some(holds) = self.holds.get_mut(&pair(want)) else { return Ok(Allowance::OneTime) };
        if holds.left == 0 {
            return Err(Limit::Holds);
        }
        self.limits.hand_out(&want.holder, &want.device, self.now)?;
        holds.left -= 1;
        match self.limits.one_time(&want.device, self.now) {
            Ok(()) => Ok(Allowance::OneTime),
            Err(_limit) => Ok(Allowance::LastResort),
        }
    }

    /// Takes a charge back: nothing was handed out for it.
    pub(super) fn give_back(&mut self, want: &Want, allowance: Allowance) {
        let Some(holds) = self.holds.get_mut(&pair(want)) else { return };
        holds.left += 1;
        self.limits.not_handed_out(&want.holder, &want.device);
        if matches!(allowance, Allowance::OneTime) {
            self.limits.no_one_time(&want.device);
        }
    }

    /// Takes the charge for a one-time package back: the device had none.
    pub(super) fn no_one_time(&self, want: &Want) {
        if self.holds.contains_key(&pair(want)) {
            self.limits.no_one_time(&want.device);
        }
    }
}
