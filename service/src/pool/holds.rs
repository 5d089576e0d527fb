//! Spend, release and extend what a reservation holds.

use super::{Caller, HoldFault, KeyPackagePool, PackageFault, PoolError};
use crate::{
    store::{DeviceKey, HeldItem, HoldRef, ReleaseItem, SpendItem, StoreError, Trace},
    types::{DeviceId, GroupId, KeyPackageRef, ReservationId, UserId},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};

/// How often a package that changes hands while it is looked at is looked at again.
const LOOKS: usize = 4;

/// A package as reserve returned it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackageName {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// The package.
    pub reference: KeyPackageRef,
}

/// Packages of a reservation.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// Who calls.
    pub caller: Caller,
    /// The reservation.
    pub reservation: ReservationId,
    /// The packages.
    pub packages: Vec<PackageName>,
}

/// Packages to spend.
#[derive(Debug, Clone)]
pub struct SpendRequest {
    /// The packages.
    pub hold: HoldRequest,
    /// The group they were used for.
    pub group: GroupId,
}

/// Packages to release.
#[derive(Debug, Clone)]
pub struct Release {
    /// The packages.
    pub hold: HoldRequest,
    /// For each package: what is wrong with it, by the reason's number in the API, if anything.
    pub unusable: Vec<Option<i16>>,
}

/// Packages to hold for longer.
#[derive(Debug, Clone)]
pub struct Extension {
    /// The packages.
    pub hold: HoldRequest,
    /// How long from now; none means the default.
    pub ttl: Option<SignedDuration>,
}

/// How a reservation stands to a package that a statement did not touch.
#[derive(Clone, Copy)]
enum Standing {
    /// The reservation spent it.
    Spent,
    /// The reservation holds it: it changed since the statement looked.
    Held,
    /// Neither.
    Fault(HoldFault),
}

/// What is to be done to packages.
enum Action {
    Spend(Vec<SpendItem>),
    Release(Vec<ReleaseItem>),
    /// Until when.
    Extend(Vec<HeldItem>, Timestamp),
}

impl Action {
    fn len(&self) -> usize {
        match self {
            Self::Spend(items) => items.len(),
            Self::Release(items) => items.len(),
            Self::Extend(items, _) => items.len(),
        }
    }

    fn only(&self, numbers: &[usize]) -> Self {
        match self {
            Self::Spend(items) => Self::Spend(pick(items, numbers)),
            Self::Release(items) => Self::Release(pick(items, numbers)),
            Self::Extend(items, held_until) => Self::Extend(pick(items, numbers), *held_until),
        }
    }

    fn held(&self) -> Vec<HeldItem> {
        match self {
            Self::Spend(items) => items.iter().map(|item| item.held.clone()).collect(),
            Self::Release(items) => items.iter().map(|item| item.held.clone()).collect(),
            Self::Extend(items, _) => items.clone(),
        }
    }

    /// The group that the reservation must be for; none if it doesn't matter.
    fn group(&self) -> Option<&GroupId> {
        match self {
            Self::Spend(items) => items.first().map(|item| &item.group),
            Self::Release(_) | Self::Extend(..) => None,
        }
    }
}

/// How an action ended.
#[derive(Default)]
struct Settled {
    /// The items that it could not touch, by their numbers in the call.
    standings: HashMap<usize, Standing>,
    /// When the first of the extended holds ends.
    first_end: Option<Timestamp>,
}

impl Settled {
    fn faults(&self, judge: impl Fn(Standing) -> Option<HoldFault>) -> HashMap<usize, HoldFault> {
        let faults = self.standings.iter();
        faults.filter_map(|(&item, &standing)| Some((item, judge(standing)?))).collect()
    }
}

impl HoldRequest {
    fn items(&self) -> Vec<HeldItem> {
        self.packages
            .iter()
            .map(|name| HeldItem {
                device: DeviceKey::new(name.user.clone(), name.device.clone()),
                reference: name.reference.clone(),
                reservation: self.reservation.clone(),
                holder: self.caller.holder.clone(),
            })
            .collect()
    }

    fn report(&self, faults: &HashMap<usize, HoldFault>) -> Result<(), PoolError> {
        if faults.is_empty() {
            return Ok(());
        }
        let name_faults = self.packages.iter().enumerate().map(|(item, name)| PackageFault {
            name: name.clone(),
            fault: faults.get(&item).copied(),
        });
        let name_faults: Vec<_> = name_faults.collect();
        self.log_suspicious(&name_faults);
        Err(PoolError::Packages(self.reservation.clone(), name_faults))
    }

    /// What may be an attack is logged under a stable name.
    fn log_suspicious(&self, faults: &[PackageFault]) {
        for one in faults {
            let event = match one.fault {
                Some(HoldFault::AlreadySpent) => "double_spend_refused",
                Some(HoldFault::NotTheHolder) => "foreign_reservation_refused",
                _ => continue,
            };
            tracing::warn!(
                target: "keypool::security",
                event,
                reservation_id = %self.reservation,
                holder = %self.caller.holder,
                principal = %self.caller.principal,
                user_id = %one.name.user,
                device_id = %one.name.device,
                key_package_ref = %one.name.reference,
            );
        }
    }
}

impl KeyPackagePool {
    /// Uses packages up for good. What the reservation has spent before counts as spent.
    ///
    /// # Errors
    /// [`PoolError::Packages`] if any could not be spent; the others are.
    pub async fn spend(&self, request: &SpendRequest) -> Result<(), PoolError> {
        let _call = self.admit()?;
        let items = request.hold.items().into_iter().map(|held| SpendItem {
            held,
            group: request.group.clone(),
            principal: request.hold.caller.principal.clone(),
        });
        let settled = self.settle(Action::Spend(items.collect())).await?;
        self.touched(&request.hold);
        request.hold.report(&settled.faults(|standing| match standing {
            Standing::Spent => None,
            Standing::Held => Some(HoldFault::Lost),
            Standing::Fault(fault) => Some(fault),
        }))
    }

    /// Gives packages back, or sets unusable ones aside. What the reservation no longer holds is left as it is.
    ///
    /// # Errors
    /// [`PoolError::Packages`] if any is spent, or held by another holder; the others are released.
    pub async fn release(&self, request: &Release) -> Result<(), PoolError> {
        let _call = self.admit()?;
        let items = request
            .hold
            .items()
            .into_iter()
            .zip(&request.unusable)
            .map(|(held, &unusable_reason)| ReleaseItem { held, unusable_reason });
        let settled = self.settle(Action::Release(items.collect())).await?;
        self.touched(&request.hold);
        request.hold.report(&settled.faults(|standing| match standing {
            Standing::Spent => Some(HoldFault::AlreadySpent),
            Standing::Fault(HoldFault::NotTheHolder) => Some(HoldFault::NotTheHolder),
            Standing::Held | Standing::Fault(_) => None,
        }))
    }

    /// Prolongs holds, and returns when the first of them ends.
    ///
    /// # Errors
    /// [`PoolError::Packages`] if any could not be extended; the others are.
    pub async fn extend(&self, request: &Extension) -> Result<Timestamp, PoolError> {
        let _call = self.admit()?;
        let held_until = self.now() + request.ttl.unwrap_or(self.policy().default_hold);
        let settled = self.settle(Action::Extend(request.hold.items(), held_until)).await?;
        request.hold.report(&settled.faults(|standing| match standing {
            Standing::Spent => Some(HoldFault::AlreadySpent),
            Standing::Held => Some(HoldFault::Lost),
            Standing::Fault(fault) => Some(fault),
        }))?;
        Ok(settled.first_end.unwrap_or(held_until))
    }

    /// Does something to packages, and finds out how the reservation stands to those that could not be touched. One that
    /// the reservation holds after all changed in between, and is tried again.
    async fn settle(&self, mut action: Action) -> Result<Settled, PoolError> {
        let now = self.now();
        let mut settled = Settled::default();
        // The numbers of the action's items in the call.
        let mut open: Vec<usize> = (0..action.len()).collect();
        for look in 1..=LOOKS {
            let done = self.run(&action, now, &mut settled.first_end).await?;
            let left: Vec<usize> = (0..open.len()).filter(|n| !done.contains(n)).collect();
            if left.is_empty() {
                break;
            }
            action = action.only(&left);
            open = left.into_iter().map(|n| open[n]).collect();
            let held = action.held();
            let mut again = Vec::new();
            for (n, trace) in self.store().trace(&held).await?.iter().enumerate() {
                match standing(&held[n], action.group(), trace, now) {
                    Standing::Held if look < LOOKS => again.push(n),
                    standing => drop(settled.standings.insert(open[n], standing)),
                }
            }
            if again.is_empty() {
                break;
            }
            action = action.only(&again);
            open = again.into_iter().map(|n| open[n]).collect();
        }
        Ok(settled)
    }

    /// Runs the statements of an action, and returns the numbers of the items that they touched.
    async fn run(
        &self,
        action: &Action,
        now: Timestamp,
        first_end: &mut Option<Timestamp>,
    ) -> Result<HashSet<usize>, StoreError> {
        let grace = now - self.policy().revocation_grace;
        match action {
            Action::Spend(items) => {
                let mut done = self.store().spend(items, now).await?;
                let rest: Vec<usize> = (0..items.len()).filter(|n| !done.contains(n)).collect();
                if !rest.is_empty() {
                    let spent = self.store().spend_rest(&pick(items, &rest), now, grace).await?;
                    done.extend(spent.into_iter().map(|n| rest[n]));
                }
                Ok(done)
            }
            Action::Release(items) => self.store().release(items, now).await,
            Action::Extend(items, held_until) => {
                let extended = self.store().extend(items, *held_until, now, grace).await?;
                *first_end = extended.values().copied().chain(*first_end).min();
                Ok(extended.into_keys().collect())
            }
        }
    }

    fn touched(&self, request: &HoldRequest) {
        for name in &request.packages {
            self.inner.watches.touch(&DeviceKey::new(name.user.clone(), name.device.clone()));
        }
    }
}

fn pick<T: Clone>(items: &[T], numbers: &[usize]) -> Vec<T> {
    numbers.iter().map(|&number| items[number].clone()).collect()
}

/// How the reservation stands to a package, from where the package is.
fn standing(item: &HeldItem, group: Option<&GroupId>, trace: &Trace, now: Timestamp) -> Standing {
    let owner_fault = |holder: &_, of_group: &GroupId| {
        if *holder != item.holder {
            Some(HoldFault::NotTheHolder)
        } else if group.is_some_and(|group| group != of_group) {
            Some(HoldFault::OtherGroup)
        } else {
            None
        }
    };
    // One that was handed out and is not known any more has expired long ago: nothing else is purged.
    let expired = trace.known.is_none_or(|(not_after, _)| not_after <= now);
    let own =
        |hold: &Option<HoldRef>| hold.clone().filter(|hold| hold.reservation == item.reservation);

    if let Some(log) = &trace.logged {
        return match owner_fault(&log.holder, &log.group) {
            Some(fault) => Standing::Fault(fault),
            None if log.spent => Standing::Spent,
            None if log.released => Standing::Fault(HoldFault::NotFound),
            None if expired => Standing::Fault(HoldFault::Expired),
            None => Standing::Fault(HoldFault::Revoked),
        };
    }
    if let Some(hold) = &trace.in_pool {
        return match (own(hold), hold) {
            (Some(own), _) => match owner_fault(&own.holder, &own.group) {
                Some(fault) => Standing::Fault(fault),
                None if expired => Standing::Fault(HoldFault::Expired),
                None => Standing::Held,
            },
            (None, Some(_)) => Standing::Fault(HoldFault::Lost),
            (None, None) => Standing::Fault(HoldFault::NotFound),
        };
    }
    if let Some(hold) = &trace.revoked {
        return Standing::Fault(match own(hold) {
            Some(own) => owner_fault(&own.holder, &own.group).unwrap_or(if expired {
                HoldFault::Expired
            } else {
                HoldFault::Revoked
            }),
            None => HoldFault::Revoked,
        });
    }
    Standing::Fault(match trace.known {
        // A one-time package that has left the pool without being revoked was spent, even if the log has forgotten it.
        Some((_, last_resort)) if !last_resort => HoldFault::AlreadySpent,
        _ => HoldFault::NotFound,
    })
}
