use super::{
    Caller, KeyPackagePool, MissingReason, MissingTarget, PoolError, contention::Contention,
    deferred::DeferredCharges, unknown::Asked,
};
use crate::{
    lane::{DeviceOutcome, Granted, LaneError, Outcome, ReserveCall},
    limits::CallTokens,
    store::{Missing, ReservedRow, StoreError},
    types::{CipherSuite, DeviceId, GroupId, ReservationId, Target, UserId},
};
use jiff::{SignedDuration, Timestamp};
use std::{collections::HashSet, sync::Arc};

/// How many of a call's deferred devices are asked for at once: as many as a call may have targets.
const DEFERRED_AT_ONCE: usize = 100;

/// What to reserve.
#[derive(Debug, Clone)]
pub struct ReserveRequest {
    /// Who calls.
    pub caller: Caller,
    /// The reservation, as the caller named it.
    pub reservation: ReservationId,
    /// The group it is for.
    pub group: GroupId,
    /// Users and devices.
    pub targets: Vec<Target>,
    /// Acceptable cipher suites; none means any.
    pub cipher_suites: Vec<CipherSuite>,
    /// How long to hold; none means the default.
    pub hold: Option<SignedDuration>,
    /// How long each package must stay valid.
    pub min_remaining: Option<SignedDuration>,
    /// Whether to give everything back if anything is missing.
    pub require_all: bool,
}

/// A package that a reservation has.
#[derive(Debug, Clone)]
pub struct ReservedPackage {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// The package and its hold.
    pub package: ReservedRow,
}

/// What a reservation has of the targets of a call.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Its id.
    pub id: ReservationId,
    /// The group.
    pub group: GroupId,
    /// Its packages, ordered by user and device, at most one for each device.
    pub packages: Vec<ReservedPackage>,
}

impl Reservation {
    /// When the first of the holds ends; none if nothing is held.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.packages.iter().filter_map(|one| one.package.held_until).min()
    }
}

/// What a reserve reached.
#[derive(Debug, Clone)]
pub struct ReserveReport {
    /// What the reservation has.
    pub reservation: Reservation,
    /// For whom it has nothing.
    pub missing: Vec<MissingTarget>,
}

impl KeyPackagePool {
    /// Ensures that the reservation holds one package of each target device, as far as there are any. If the caller leaves
    /// before this returns, what it reserved is given back.
    ///
    /// # Errors
    /// If nothing at all could be reserved or, where all are required, not everything: then nothing is held afterwards.
    /// If the holder uses the reservation id for another group.
    pub async fn reserve(&self, request: ReserveRequest) -> Result<ReserveReport, PoolError> {
        let _call = self.admit()?;
        let ReserveRequest { caller, targets, .. } = &request;
        let charge = caller
            .limited
            .then(|| {
                self.limits().may_learn(&caller.holder, targets.len(), self.now())?;
                self.limits().reserve(&caller.holder, targets.len(), self.now())
            })
            .transpose()
            .map_err(PoolError::RateLimited)?;
        let mut deferred = DeferredCharges::default();
        let reserved = self.reserve_within_limits(request, &mut deferred).await;
        if reserved.as_ref().is_err_and(|error| !error.is_verdict()) {
            charge.into_iter().for_each(CallTokens::put_back);
            deferred.put_back();
        } else {
            deferred.used();
        }
        reserved
    }

    async fn reserve_within_limits(
        &self,
        request: ReserveRequest,
        deferred: &mut DeferredCharges,
    ) -> Result<ReserveReport, PoolError> {
        let floor = self.policy().validation.min_remaining;
        let ReserveRequest { caller, reservation, group, targets, require_all, .. } = request;
        // To be told what there is of them, as far as they may know.
        let asked = caller.limited.then(|| targets.clone());
        let returned_to = self.policy().returned_packages.after(&caller);
        let call = ReserveCall {
            reservation: reservation.clone(),
            group: group.clone(),
            holder: caller.holder,
            principal: caller.principal,
            ttl: request.hold.unwrap_or(self.policy().default_hold),
            cipher_suites: request.cipher_suites,
            min_remaining: request.min_remaining.map_or(floor, |wanted| wanted.max(floor)),
            returned_to,
            max_holds: caller.limited.then_some(self.policy().max_holds),
        };
        let call = Arc::new(call);
        let granted = self.ensure(call.clone(), targets, deferred).await?;

        // Nobody asked for more than the floor: what is below it is as good as expired.
        let asked_for_more = request.min_remaining.is_some_and(|wanted| wanted > floor);
        let mut missing = missing_targets(granted.outcomes(), asked_for_more);
        if let Some(targets) = &asked {
            let asked = Asked { holder: &call.holder, targets };
            let told = self.tell(&asked, granted.outcomes(), missing)?;
            deferred.hide(&told.hidden);
            missing = told.missing;
        }
        if let Some(error) = conflict(granted.outcomes(), &reservation) {
            return Err(given_back(granted, error).await);
        }
        let reserved = |one: &DeviceOutcome| matches!(one.outcome, Outcome::Reserved(_));
        if !missing.is_empty() && (require_all || !granted.outcomes().iter().any(reserved)) {
            return Err(given_back(granted, PoolError::NothingReserved(missing)).await);
        }
        let mut packages: Vec<_> = granted.claim().into_iter().filter_map(package).collect();
        packages.sort_by(|a, b| (&a.user, &a.device).cmp(&(&b.user, &b.device)));
        Ok(ReserveReport { reservation: Reservation { id: reservation, group, packages }, missing })
    }

    /// Reserves, and asks again for devices whose packages are locked, and for those whose hold ended before its caller could be
    /// told of it.
    async fn ensure(
        &self,
        call: Arc<ReserveCall>,
        targets: Vec<Target>,
        charges: &mut DeferredCharges,
    ) -> Result<Granted, PoolError> {
        let mut contention = Contention::new();
        let mut granted: Option<Granted> = None;
        let mut has_effects = false;
        let named = named_beside_users(&targets);
        let mut open = targets;
        let mut later = Vec::new();
        loop {
            match self.lanes().reserve(call.clone(), open.clone()).await {
                Ok(more) => {
                    let granted = match &mut granted {
                        Some(granted) => {
                            granted.add(more);
                            granted
                        }
                        None => granted.insert(more),
                    };
                    open = granted.take_open(self.now());
                    let mut deferred = granted.take_deferred();
                    // A device may be a target beside its user.
                    deferred.retain(|one| !named.contains(&(one.user.clone(), one.device.clone())));
                    later.extend(self.charge_deferred(&call, deferred, granted, charges));
                }
                Err(LaneError::Store(StoreError::Locked(_))) if contention.back_off().await => {
                    has_effects = true; // in another lane, maybe
                    continue;
                }
                Err(error) if has_effects => return Err(PoolError::from(error).after_effects()),
                Err(error) => return Err(error.into()),
            }
            has_effects = true;
            if open.is_empty() {
                let next = later.len().saturating_sub(DEFERRED_AT_ONCE);
                open = later.split_off(next);
                if !open.is_empty() {
                    continue;
                }
            } else if contention.wait().await {
                continue;
            }
            if let Some(mut granted) = granted.take() {
                granted.add_contended(open);
                granted.add_contended(later);
                return Ok(granted);
            }
        }
    }

    /// The devices that are still to be asked for: each counts as a target from now on.
    fn charge_deferred(
        &self,
        call: &ReserveCall,
        deferred: Vec<Target>,
        granted: &mut Granted,
        charges: &mut DeferredCharges,
    ) -> Vec<Target> {
        if call.max_holds.is_none() || deferred.is_empty() {
            return deferred;
        }
        match self.limits().reserve(&call.holder, deferred.len(), self.now()) {
            Ok(tokens) => {
                charges.add(tokens, deferred.iter().map(|one| one.user.clone()).collect());
                deferred
            }
            Err(limited) => {
                granted.add_limited(deferred, limited);
                Vec::new()
            }
        }
    }
}

/// The devices that are targets themselves, where a user is one as well: only users' devices are deferred.
fn named_beside_users(targets: &[Target]) -> HashSet<(UserId, Option<DeviceId>)> {
    if targets.iter().all(|target| target.device.is_some()) {
        return HashSet::new();
    }
    let named = targets.iter().filter(|target| target.device.is_some());
    named.map(|target| (target.user.clone(), target.device.clone())).collect()
}

/// Gives back what was reserved, and returns the error that is the reason; another one if that fails.
async fn given_back(granted: Granted, reason: PoolError) -> PoolError {
    match granted.give_back().await {
        Ok(()) => reason,
        Err(error) => PoolError::from(error).after_effects(),
    }
}

fn missing_targets(outcomes: &[DeviceOutcome], asked_for_more: bool) -> Vec<MissingTarget> {
    let missing = outcomes.iter().filter_map(|DeviceOutcome { user, device, outcome, .. }| {
        let (reason, limited) = match outcome {
            Outcome::Missing(found) => (missing_reason(found, asked_for_more), None),
            Outcome::Contended | Outcome::Deferred => (MissingReason::Contended, None),
            Outcome::Limited(limited) => (MissingReason::RateLimited, Some(*limited)),
            Outcome::OtherSuite => (MissingReason::NoCompatiblePackage, None),
            Outcome::Reserved(_) | Outcome::OtherGroup => return None,
        };
        let device = device.clone().filter(|_| reason != MissingReason::UnknownUser);
        Some(MissingTarget { user: user.clone(), device, reason, limited })
    });
    let mut missing: Vec<MissingTarget> = missing.collect();
    missing.sort_by(|a, b| (&a.user, &a.device).cmp(&(&b.user, &b.device)));
    missing.dedup();
    missing
}

fn missing_reason(found: &Missing, asked_for_more: bool) -> MissingReason {
    match found {
        Missing { user_known: false, .. } => MissingReason::UnknownUser,
        Missing { device_known: false, .. } => MissingReason::UnknownDevice,
        Missing { suite_known: false, .. } => MissingReason::NoCompatiblePackage,
        Missing { expires_too_soon: true, .. } if asked_for_more => {
            MissingReason::NoCompatiblePackage
        }
        _ => MissingReason::PoolExhausted,
    }
}

fn conflict(outcomes: &[DeviceOutcome], reservation: &ReservationId) -> Option<PoolError> {
    let is_of_other_group = |one: &DeviceOutcome| matches!(one.outcome, Outcome::OtherGroup);
    let found = outcomes.iter().any(is_of_other_group);
    found.then(|| PoolError::ReservationIdReused(reservation.clone()))
}

fn package(one: DeviceOutcome) -> Option<ReservedPackage> {
    match (one.outcome, one.device) {
        (Outcome::Reserved(package), Some(device)) => {
            Some(ReservedPackage { user: one.user, device, package })
        }
        _ => None,
    }
}
