//! What a reserve tells its caller about who is known. A limited holder learns of a limited number of targets that they are
//! unknown. Where the pool hides them, a target of which nothing was reserved looks the same for every reason.

use super::{KeyPackagePool, MissingReason, MissingTarget, PoolError};
use crate::{
    lane::{DeviceOutcome, Outcome},
    limits::{Limit, Limited},
    types::{Holder, Target, UserId},
};
use std::{cmp::Reverse, collections::HashSet};

/// What a limited holder asked for.
pub(super) struct Asked<'a> {
    pub(super) holder: &'a Holder,
    pub(super) targets: &'a [Target],
}

/// What the holder is told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) missing: Vec<MissingTarget>,
    /// Users that are told as unknown ones are, whether they are or not.
    pub(super) hidden: HashSet<UserId>,
    /// How many targets are unknown, or look so.
    unknown: usize,
}

impl KeyPackagePool {
    /// What a limited holder is told of what is missing. It is charged for what is unknown.
    ///
    /// # Errors
    /// If other calls of its holder have used up what it may learn since this one began. Then it must not be told anything.
    pub(super) fn tell(
        &self,
        asked: &Asked<'_>,
        outcomes: &[DeviceOutcome],
        missing: Vec<MissingTarget>,
    ) -> Result<Told, PoolError> {
        let told = if self.policy().hide_unknown {
            asked.hide(outcomes, &missing)
        } else {
            let is_unknown = |one: &&MissingTarget| {
                matches!(one.reason, MissingReason::UnknownUser | MissingReason::UnknownDevice)
            };
            let unknown = missing.iter().filter(is_unknown).count();
            Told { unknown, missing, ..Told::default() }
        };
        let learned =
            self.limits().learn(asked.holder, asked.targets.len(), told.unknown, self.now());
        learned.map_err(PoolError::RateLimited)?;
        Ok(told)
    }
}

impl Asked<'_> {
    /// Each target of which nothing was reserved is told as exhausted, as the caller named it.
    fn hide(&self, outcomes: &[DeviceOutcome], missing: &[MissingTarget]) -> Told {
        let mut told = Told::default();
        for target in self.targets {
            let of_user = || outcomes.iter().filter(|one| one.user == target.user);
            let Some(device) = &target.device else {
                if of_user().any(is_reserved) {
                    // Its package proves that there is such a user.
                    let rest = missing.iter().filter(|one| self.is_one_of(target, one));
                    told.missing.extend(rest.cloned());
                } else if !self.excludes_all_of_its_own(target, of_user().next().is_none()) {
                    told.add(target, of_user());
                }
                continue;
            };
            let of_device = || of_user().filter(|one| one.device.as_ref() == Some(device));
            if !of_device().any(is_reserved) {
                told.add(target, of_device());
            }
        }
        told.missing.sort_by(|a, b| (&a.user, &a.device).cmp(&(&b.user, &b.device)));
        told.missing.dedup();
        told
    }

    /// Whether it is one of the devices of a user that is a target, and none by itself.
    fn is_one_of(&self, target: &Target, one: &MissingTarget) -> bool {
        let is_target = |other: &Target| other.user == one.user && other.device == one.device;
        one.user == target.user
            && one.device.as_ref().is_some_and(|device| !target.excluded.contains(device))
            && !self.targets.iter().any(is_target)
    }

    /// A user that asks for its own other devices, and has none, needs nothing. Of others, it would tell which devices they have.
    fn excludes_all_of_its_own(&self, target: &Target, is_nothing_wanted: bool) -> bool {
        is_nothing_wanted
            && !target.excluded.is_empty()
            && target.user.as_str() == self.holder.as_str()
    }
}

impl Told {
    /// A target of which nothing was reserved. A state that the holder has caused itself, or that passes, is told.
    fn add<'a>(&mut self, target: &Target, outcomes: impl Iterator<Item = &'a DeviceOutcome>) {
        let passing = outcomes.filter_map(passing).min_by_key(|&(reason, limited)| {
            (reason, Reverse(limited.map(|limited: Limited| limited.wait)))
        });
        if passing.is_none() {
            self.unknown += 1;
            if target.device.is_none() {
                self.hidden.insert(target.user.clone());
            }
        }
        let (reason, limited) = passing.unwrap_or((MissingReason::PoolExhausted, None));
        let (user, device) = (target.user.clone(), target.device.clone());
        self.missing.push(MissingTarget { user, device, reason, limited });
    }
}

fn is_reserved(one: &DeviceOutcome) -> bool {
    matches!(one.outcome, Outcome::Reserved(_))
}

/// Locked packages can be had soon; and whoever holds packages of a device, or was handed them, knows it.
fn passing(one: &DeviceOutcome) -> Option<(MissingReason, Option<Limited>)> {
    match one.outcome {
        Outcome::Contended | Outcome::Deferred => Some((MissingReason::Contended, None)),
        Outcome::Limited(limited)
            if matches!(limited.limit, Limit::Holds | Limit::HolderAndDevice) =>
        {
            Some((MissingReason::RateLimited, Some(limited)))
        }
        _ => None,
    }
}
