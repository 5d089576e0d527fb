//! Spend, release and extend what a reservation holds.

use super::{Caller, HoldFault, KeyPackagePool, PackageFault, PoolError, contention::Contention};
use crate::{
    lane::{HoldCall, HoldReply, LaneError},
    security::{self, Event},
    store::{DeviceKey, HeldItem, HoldRef, ReleaseItem, SpendItem, StoreError, Trace},
    types::{DeviceId, GroupId, Holder, KeyPackageRef, ReservationId, UserId},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

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
    /// The reservation holds it: another call had it locked.
    Held,
    /// Neither.
    Fault(HoldFault),
}

/// How an action ended.
#[derive(Default)]
struct Settled {
    /// The items that it could not touch, by their numbers in the call.
    standings: HashMap<usize, Standing>,
    /// If extended: when the first of the holds ends.
    first_end: Option<Timestamp>,
}

impl Settled {
    fn note_ends(&mut self, reply: &HoldReply) {
        self.first_end = reply.iter().copied().flatten().chain(self.first_end).min();
    }

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
                holder: (!self.caller.whoever_holds).then(|| self.caller.holder.clone()),
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
                Some(HoldFault::AlreadySpent) => Event::DoubleSpendRefused,
                Some(HoldFault::NotTheHolder) => Event::ForeignReservationRefused,
                _ => continue,
            };
            security::event!(
                event, of &(&self.caller.principal, &self.caller.holder),
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
        let settled = self.settle(HoldCall::Spend(items.collect())).await?;
        self.touched(&request.hold);
        request.hold.report(&settled.faults(|standing| match standing {
            Standing::Spent => None,
            Standing::Held => Some(HoldFault::Contended),
            Standing::Fault(fault) => Some(fault),
        }))
    }

    /// Gives packages back, or sets unusable ones aside. What the reservation no longer holds is left as it is.
    ///
    /// # Errors
    /// [`PoolError::Packages`] if any is spent, or held by another holder; the others are released.
    pub async fn release(&self, request: &Release) -> Result<(), PoolError> {
        let _call = self.admit()?;
        let items =
            request.hold.items().into_iter().zip(&request.unusable).map(
                |(held, &unusable_reason)| ReleaseItem { held, unusable_reason, asked_at: None },
            );
        let settled = self.settle(HoldCall::Release(items.collect())).await?;
        self.touched(&request.hold);
        request.hold.report(&settled.faults(|standing| match standing {
            Standing::Spent => Some(HoldFault::AlreadySpent),
            Standing::Held => Some(HoldFault::Contended),
            Standing::Fault(HoldFault::NotTheHolder) => Some(HoldFault::NotTheHolder),
            Standing::Fault(_) => None,
        }))
    }

    /// Prolongs holds, and returns when the first of them ends.
    ///
    /// # Errors
    /// [`PoolError::Packages`] if any could not be extended; the others are.
    pub async fn extend(&self, request: &Extension) -> Result<Timestamp, PoolError> {
        let _call = self.admit()?;
        let ttl = request.ttl.unwrap_or(self.policy().default_hold);
        let mut contention = Contention::new();
        let mut settled = self.settle(HoldCall::Extend(request.hold.items(), ttl)).await?;
        // The holds may have ended while the call waited: an answer is true when it is given.
        while settled.first_end.is_some_and(|end| end <= self.now()) {
            if !contention.wait().await {
                return Err(PoolError::Unfinished);
            }
            let again = self.settle(HoldCall::Extend(request.hold.items(), ttl)).await;
            settled = again.map_err(PoolError::after_effects)?;
        }
        request.hold.report(&settled.faults(|standing| match standing {
            Standing::Spent => Some(HoldFault::AlreadySpent),
            Standing::Held => Some(HoldFault::Contended),
            Standing::Fault(fault) => Some(fault),
        }))?;
        Ok(settled.first_end.unwrap_or_else(|| self.now() + ttl))
    }

    /// Does something to packages, and finds out how the reservation stands to those that could not be touched. One that
    /// the reservation holds after all is locked by another call, or was a moment ago, and is tried again.
    async fn settle(&self, mut call: HoldCall) -> Result<Settled, PoolError> {
        let mut contention = Contention::new();
        let mut settled = Settled::default();
        // The numbers of the call's items in the request.
        let mut open: Vec<usize> = (0..call.len()).collect();
        let mut is_first = true;
        loop {
            let reply = match self.lanes().hold(call.clone()).await {
                Ok(reply) => reply,
                Err(LaneError::Store(StoreError::Locked(_))) if contention.back_off().await => {
                    is_first = false; // another lane may have done its part
                    continue;
                }
                Err(error) if is_first => return Err(error.into()),
                Err(error) => return Err(PoolError::from(error).after_effects()),
            };
            is_first = false;
            settled.note_ends(&reply);
            let left: Vec<usize> = (0..open.len()).filter(|&n| reply[n].is_none()).collect();
            if left.is_empty() {
                return Ok(settled);
            }
            call = call.only(&left);
            open = left.into_iter().map(|n| open[n]).collect();
            let (held, group) = (call.held(), call.group());
            let now = self.now();
            // A batch that was run again may have done what its reply does not say.
            let traces = self.store().trace(&held, now).await;
            let traces = traces.map_err(|error| PoolError::from(error).after_effects())?;
            let mut again = Vec::new();
            for (n, trace) in traces.iter().enumerate() {
                match standing(&held[n], group, trace, now, self.policy().revocation_grace) {
                    Standing::Held => again.push(n),
                    standing => drop(settled.standings.insert(open[n], standing)),
                }
            }
            if again.is_empty() {
                return Ok(settled);
            }
            if !contention.wait().await {
                let contended = again.into_iter().map(|n| (open[n], Standing::Held));
                settled.standings.extend(contended);
                return Ok(settled);
            }
            call = call.only(&again);
            open = again.into_iter().map(|n| open[n]).collect();
        }
    }

    fn touched(&self, request: &HoldRequest) {
        if self.inner.watches.is_empty() {
            return;
        }
        for name in &request.packages {
            self.inner.watches.touch(&DeviceKey::new(name.user.clone(), name.device.clone()));
        }
    }
}

/// How the reservation stands to a package, from where the package is.
fn standing(
    item: &HeldItem,
    group: Option<&GroupId>,
    trace: &Trace,
    now: Timestamp,
    grace: SignedDuration,
) -> Standing {
    let owner_fault = |holder: &Holder, of_group: &GroupId| {
        if item.holder.as_ref().is_some_and(|own| own != holder) {
            Some(HoldFault::NotTheHolder)
        } else if group.is_some_and(|group| group != of_group) {
            Some(HoldFault::OtherGroup)
        } else {
            None
        }
    };
    // One that was handed out and is not known any more has expired long ago: nothing else is purged.
    let expired = trace.known.is_none_or(|(not_after, _)| not_after <= now);
    let revoked = trace.revoked_at.is_some_and(|revoked_at| revoked_at <= now - grace);
    let own =
        |hold: &Option<HoldRef>| hold.clone().filter(|hold| hold.reservation == item.reservation);

    if let Some(log) = &trace.logged {
        return match owner_fault(&log.holder, &log.group) {
            Some(fault) => Standing::Fault(fault),
            None if log.spent => Standing::Spent,
            None if log.released => Standing::Fault(HoldFault::NotFound),
            None if expired => Standing::Fault(HoldFault::Expired),
            None if revoked => Standing::Fault(HoldFault::Revoked),
            None => Standing::Held,
        };
    }
    if let Some(hold) = &trace.in_pool {
        return match (own(hold), hold) {
            (Some(own), _) => match owner_fault(&own.holder, &own.group) {
                Some(fault) => Standing::Fault(fault),
                None if expired => Standing::Fault(HoldFault::Expired),
                None if trace.hold_lost => Standing::Fault(HoldFault::Lost),
                None => Standing::Held,
            },
            (None, Some(_)) => Standing::Fault(HoldFault::Lost),
            (None, None) => Standing::Fault(HoldFault::NotFound),
        };
    }
    if let Some(hold) = &trace.revoked {
        let Some(own) = own(hold) else { return Standing::Fault(HoldFault::Revoked) };
        return match owner_fault(&own.holder, &own.group) {
            Some(fault) => Standing::Fault(fault),
            None if expired => Standing::Fault(HoldFault::Expired),
            None if revoked => Standing::Fault(HoldFault::Revoked),
            None => Standing::Held,
        };
    }
    Standing::Fault(match trace.known {
        // A one-time package that has left the pool without being revoked was spent, even if the log has forgotten it.
        Some((_, last_resort)) if !last_resort => HoldFault::AlreadySpent,
        _ => HoldFault::NotFound,
    })
}
