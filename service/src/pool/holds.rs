//! Spend, release and extend what a reservation holds.

use super::{Caller, HoldFault, KeyPackagePool, PackageFault, PoolError, contention::Contention};
use crate::{
    causes::causes,
    lane::{HoldCall, HoldReply, LaneError},
    limits::{CallTokens, Tokens},
    security::{self, Event},
    store::{
        DeviceKey, HeldItem, HoldRef, LogRef, ReleaseItem, Report, SpendItem, StoreError, Trace,
    },
    types::{DeviceId, GroupId, KeyPackageRef, ReservationId, ReturnedTo, UserId},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// A package as reserve returned it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// For each package: what the caller says is wrong with it, if anything.
    pub reports: Vec<Option<Report>>,
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
enum HoldState {
    /// The reservation spent it.
    Spent,
    /// The reservation holds it: another call had it locked.
    Held,
    /// The reservation holds it, but the hold can't be prolonged.
    Over,
    /// A reservation of another holder, with the same id, holds it.
    Foreign,
    /// Neither.
    Fault(HoldFault),
}

/// How an action ended.
#[derive(Default)]
struct Settled {
    /// The items that it could not touch, by their numbers in the call.
    states: HashMap<usize, HoldState>,
    /// If extended: when the first of the holds ends.
    first_end: Option<Timestamp>,
}

impl Settled {
    fn note_ends(&mut self, reply: &HoldReply) {
        self.first_end = reply.iter().copied().flatten().chain(self.first_end).min();
    }
}

/// What a call is charged for its packages; nothing if its holder is not limited.
struct HoldCharge(Option<CallTokens>);

impl HoldCharge {
    /// The result of the call, which is not charged if the service or its database failed.
    fn unless_failed(self, settled: Result<Settled, PoolError>) -> Result<Settled, PoolError> {
        if let (Some(tokens), Err(_)) = (self.0, &settled) {
            tokens.put_back();
        }
        settled
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

    /// Logs what may be an attack under a stable name.
    fn log(&self, event: Event, name: &PackageName) {
        security::event!(
            event, of &(&self.caller.principal, &self.caller.holder),
            reservation_id = %self.reservation,
            holder = %self.caller.holder,
            principal = %self.caller.principal,
            user_id = %name.user,
            device_id = %name.device,
            key_package_ref = %name.reference,
        );
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
        let charge = self.charge(&request.hold)?;
        let settled = charge.unless_failed(self.settle(HoldCall::Spend(items.collect())).await)?;
        self.touched(&request.hold);
        self.report(&request.hold, &settled, |state| match state {
            HoldState::Spent => None,
            HoldState::Held | HoldState::Over => Some(HoldFault::Contended),
            HoldState::Foreign => Some(HoldFault::NotFound),
            HoldState::Fault(fault) => Some(fault),
        })
    }

    /// Gives packages back, or reports them as unusable. What the reservation does not hold is left as it is.
    ///
    /// # Errors
    /// [`PoolError::Packages`] if any is spent; the others are released.
    pub async fn release(&self, request: &Release) -> Result<(), PoolError> {
        let _call = self.admit()?;
        let caller = &request.hold.caller;
        let charge = self.charge(&request.hold)?;
        let items = request.hold.items().into_iter().zip(&request.reports);
        let items: Vec<ReleaseItem> = items
            .map(|(held, report)| ReleaseItem {
                held,
                principal: Some(caller.principal.clone()),
                report: report.filter(|_| self.may_report(caller)),
                asked_at: None,
            })
            .collect();
        if let Err(error) = self.check_reported(&items).await {
            // The packages are given back all the same, and the reports noted.
            tracing::debug!(error = causes(&error), "a report was not checked");
        }
        let settled = self.settle(HoldCall::Release(items.clone())).await;
        let settled = charge.unless_failed(settled)?;
        self.touched(&request.hold);
        if caller.limited && self.policy().returned_packages.after(caller) == ReturnedTo::Anyone {
            for (number, item) in items.iter().enumerate() {
                let is_believed = item.report.is_some_and(|report| report.is_believed);
                if !settled.states.contains_key(&number) && !is_believed {
                    self.limits().given_back(&caller.holder, &item.held.device);
                }
            }
        }
        self.report(&request.hold, &settled, |state| match state {
            HoldState::Spent => Some(HoldFault::AlreadySpent),
            HoldState::Held | HoldState::Over => Some(HoldFault::Contended),
            HoldState::Foreign | HoldState::Fault(_) => None,
        })
    }

    fn may_report(&self, caller: &Caller) -> bool {
        !caller.limited
            || self.limits().report(&caller.holder, self.now()).map(Tokens::used).is_ok()
    }

    /// Prolongs holds, and returns when the first of them ends.
    ///
    /// # Errors
    /// [`PoolError::Packages`] if any could not be extended; the others are.
    pub async fn extend(&self, request: &Extension) -> Result<Timestamp, PoolError> {
        let _call = self.admit()?;
        let ttl = request.ttl.unwrap_or(self.policy().default_hold);
        let mut contention = Contention::new();
        let charge = self.charge(&request.hold)?;
        let first = self.settle(HoldCall::Extend(request.hold.items(), ttl)).await;
        let mut settled = charge.unless_failed(first)?;
        // The holds may have ended while the call waited: an answer is true when it is given.
        while settled.first_end.is_some_and(|end| end <= self.now()) {
            if !contention.wait().await {
                return Err(PoolError::Unfinished);
            }
            let again = self.settle(HoldCall::Extend(request.hold.items(), ttl)).await;
            settled = again.map_err(PoolError::after_effects)?;
        }
        self.report(&request.hold, &settled, |state| match state {
            HoldState::Spent => Some(HoldFault::AlreadySpent),
            HoldState::Held => Some(HoldFault::Contended),
            HoldState::Over => Some(HoldFault::HeldTooLong),
            HoldState::Foreign => Some(HoldFault::NotFound),
            HoldState::Fault(fault) => Some(fault),
        })?;
        Ok(settled.first_end.unwrap_or_else(|| self.now() + ttl))
    }

    /// Does something to packages of a request, and finds out how the reservation stands to those that could not be touched. One that
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
            let traces = self.store().trace(&held, now, self.policy().max_total_hold).await;
            let traces = traces.map_err(|error| PoolError::from(error).after_effects())?;
            let mut again = Vec::new();
            for (n, trace) in traces.iter().enumerate() {
                match hold_state(&held[n], group, trace, now, self.policy().revocation_grace) {
                    HoldState::Held => again.push(n),
                    HoldState::Over if !matches!(call, HoldCall::Extend(..)) => again.push(n),
                    state => drop(settled.states.insert(open[n], state)),
                }
            }
            if again.is_empty() {
                return Ok(settled);
            }
            if !contention.wait().await {
                let contended = again.into_iter().map(|n| (open[n], HoldState::Held));
                settled.states.extend(contended);
                return Ok(settled);
            }
            call = call.only(&again);
            open = again.into_iter().map(|n| open[n]).collect();
        }
    }

    /// Charges a limited holder for the packages of a call.
    fn charge(&self, request: &HoldRequest) -> Result<HoldCharge, PoolError> {
        let HoldRequest { caller, packages, .. } = request;
        let charge = caller
            .limited
            .then(|| self.limits().change_holds(&caller.holder, packages.len(), self.now()))
            .transpose();
        charge.map(HoldCharge).map_err(PoolError::RateLimited)
    }

    /// The error of a call that failed for some packages, for which a limited holder is charged. Logs what may be an attack.
    fn report(
        &self,
        request: &HoldRequest,
        settled: &Settled,
        judge: impl Fn(HoldState) -> Option<HoldFault>,
    ) -> Result<(), PoolError> {
        let faults = request.packages.iter().enumerate().map(|(item, name)| {
            let state = settled.states.get(&item).copied();
            let fault = state.and_then(&judge);
            if fault == Some(HoldFault::AlreadySpent) {
                request.log(Event::DoubleSpendRefused, name);
            } else if matches!(state, Some(HoldState::Foreign)) {
                request.log(Event::ForeignReservationRefused, name);
            }
            PackageFault { name: name.clone(), fault }
        });
        let faults: Vec<_> = faults.collect();
        if faults.iter().all(|one| one.fault.is_none()) {
            return Ok(());
        }
        if request.caller.limited {
            let is_refused = |fault: &HoldFault| *fault != HoldFault::Contended;
            let refused = faults.iter().filter_map(|one| one.fault).filter(is_refused).count();
            self.limits().refused_changes(&request.caller.holder, refused, self.now());
        }
        Err(PoolError::Packages(request.reservation.clone(), faults))
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

/// How the reservation stands to a package, from where the package is. What became of a package is told only to who has held it.
fn hold_state(
    item: &HeldItem,
    group: Option<&GroupId>,
    trace: &Trace,
    now: Timestamp,
    grace: SignedDuration,
) -> HoldState {
    // One that was handed out and is not known any more has expired long ago: nothing else is purged.
    let expired = trace.known.is_none_or(|(not_after, _)| not_after <= now);
    let revoked = trace.revoked_at.is_some_and(|revoked_at| revoked_at <= now - grace);
    let is_own = |hold: &&HoldRef| {
        hold.reservation == item.reservation
            && item.holder.as_ref().is_none_or(|holder| *holder == hold.holder)
    };
    let of_group = |of: &GroupId, state: HoldState| match group {
        Some(group) if group != of => HoldState::Fault(HoldFault::OtherGroup),
        _ => state,
    };

    if let Some(log) = trace.logged.as_ref().filter(|log| log.spent || log.last_resort) {
        return of_group(
            &log.group,
            match log {
                LogRef { spent: true, .. } => HoldState::Spent,
                LogRef { released: true, .. } => HoldState::Fault(HoldFault::NotFound),
                _ if expired => HoldState::Fault(HoldFault::Expired),
                _ if revoked => HoldState::Fault(HoldFault::Revoked),
                _ => HoldState::Held,
            },
        );
    }
    if let Some(hold) = trace.in_pool.iter().flatten().find(is_own) {
        return of_group(
            &hold.group,
            match () {
                () if expired => HoldState::Fault(HoldFault::Expired),
                () if trace.hold_lost => HoldState::Fault(HoldFault::Lost),
                () if trace.hold_over => HoldState::Over,
                () => HoldState::Held,
            },
        );
    }
    if let Some(hold) = trace.revoked.iter().flatten().find(is_own) {
        return of_group(
            &hold.group,
            match () {
                () if expired => HoldState::Fault(HoldFault::Expired),
                () if revoked => HoldState::Fault(HoldFault::Revoked),
                () => HoldState::Held,
            },
        );
    }
    let became = || match () {
        () if expired => HoldFault::Expired,
        () if trace.revoked.is_some() => HoldFault::Revoked,
        () if trace.in_pool.is_some() => HoldFault::Lost,
        // A one-time package that has left the pool without being revoked was spent.
        () => HoldFault::AlreadySpent,
    };
    let is_free = trace.in_pool.as_ref().is_some_and(Option::is_none);
    let is_one_time = trace.known.is_some_and(|(_, last_resort)| !last_resort);
    match &trace.logged {
        Some(log) if log.lapsed && !log.released => {
            of_group(&log.group, HoldState::Fault(became()))
        }
        // The holder has had it under another reservation.
        _ if trace.was_held && is_one_time && !is_free => HoldState::Fault(became()),
        _ => {
            let holds = trace.in_pool.iter().flatten().chain(trace.revoked.iter().flatten());
            let is_foreign = holds.into_iter().any(|hold| hold.reservation == item.reservation);
            if is_foreign { HoldState::Foreign } else { HoldState::Fault(HoldFault::NotFound) }
        }
    }
}
