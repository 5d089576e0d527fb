use super::{Caller, KeyPackagePool, MissingReason, MissingTarget, PoolError};
use crate::{
    store::{
        DeviceKey, HeldItem, Missing, MissingItem, ReleaseItem, ReserveFilter, ReserveItem,
        ReserveOutcome, ReserveRow, ReservedRow,
    },
    types::{CipherSuite, DeviceId, GroupId, ReservationId, UserId},
};
use jiff::{SignedDuration, Timestamp};
use tracing::Instrument;

/// How often packages that others have locked are waited for, before they are counted as gone. Each wait ends with one
/// package taken by somebody.
const WAITS: usize = 8;

/// A user, or one device of it, to reserve packages of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The user.
    pub user: UserId,
    /// The device; none means each of the user's.
    pub device: Option<DeviceId>,
    /// Devices to leave out.
    pub excluded: Vec<DeviceId>,
}

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
    /// Ensures that the reservation holds one package of each target device, as far as there are any.
    ///
    /// # Errors
    /// If nothing at all could be reserved or, where all are required, not everything: then nothing is held afterwards.
    /// If the reservation id belongs to another group or holder.
    pub async fn reserve(&self, request: ReserveRequest) -> Result<ReserveReport, PoolError> {
        let pool = self.clone();
        // A task of its own, so that it keeps its turn until its statements have ended, even if the caller leaves.
        let reserved = async move {
            let _call = pool.admit()?;
            let _turn = pool.inner.turns.take(&request.reservation).await;
            pool.reserve_in_turn(request).await
        };
        tokio::spawn(reserved.in_current_span())
            .await
            .map_err(|error| PoolError::Internal(error.into()))?
    }

    async fn reserve_in_turn(&self, request: ReserveRequest) -> Result<ReserveReport, PoolError> {
        let now = self.now();
        let floor = self.policy().validation.min_remaining;
        let filter = ReserveFilter {
            now,
            min_not_after: now + request.min_remaining.map_or(floor, |wanted| wanted.max(floor)),
            cipher_suites: request.cipher_suites.clone(),
        };
        let items = self.reserve_items(&request, now);
        let (rows, mut missing) = self.reserve_patiently(&filter, &items).await?;
        if request.min_remaining.is_none_or(|wanted| wanted <= floor) {
            // Nobody asked for more than the floor: what is below it is as good as expired.
            for (_, found) in &mut missing {
                found.expires_too_soon = false;
            }
        }
        let missing = missing_targets(&rows, &missing);
        let conflict = conflict(&rows, &request.reservation);
        let packages: Vec<ReservedPackage> = rows.into_iter().filter_map(reserved).collect();

        if let Some(error) = conflict {
            self.give_back(&request, &packages).await?;
            return Err(error);
        }
        if !missing.is_empty() && (request.require_all || packages.is_empty()) {
            self.give_back(&request, &packages).await?;
            return Err(PoolError::NothingReserved(missing));
        }
        let ReserveRequest { reservation: id, group, .. } = request;
        Ok(ReserveReport { reservation: Reservation { id, group, packages }, missing })
    }

    fn reserve_items(&self, request: &ReserveRequest, now: Timestamp) -> Vec<ReserveItem> {
        let held_until = now + request.hold.unwrap_or(self.policy().default_hold);
        let max_holds = request.caller.limited.then_some(self.policy().max_holds_per_device);
        request
            .targets
            .iter()
            .map(|target| ReserveItem {
                call: 0,
                user: target.user.clone(),
                device: target.device.clone(),
                excluded: target.excluded.clone(),
                reservation: request.reservation.clone(),
                group: request.group.clone(),
                holder: request.caller.holder.clone(),
                principal: request.caller.principal.clone(),
                held_until,
                max_holds,
            })
            .collect()
    }

    /// Reserves, and calls a pool exhausted only if no package is left that another transaction has merely locked.
    async fn reserve_patiently(
        &self,
        filter: &ReserveFilter,
        items: &[ReserveItem],
    ) -> Result<(Vec<ReserveRow>, Vec<(MissingItem, Missing)>), PoolError> {
        let mut waits = 0;
        let mut rows = self.store().reserve(filter, items, false).await?;
        loop {
            let without = without_package(items, &rows);
            if without.is_empty() {
                return Ok((rows, Vec::new()));
            }
            let found = self.store().explain_missing(filter, &without).await?;
            if waits == WAITS || !found.iter().any(|missing| missing.takable) {
                return Ok((rows, without.into_iter().zip(found).collect()));
            }
            waits += 1;
            rows = self.store().reserve(filter, items, true).await?;
        }
    }

    async fn give_back(
        &self,
        request: &ReserveRequest,
        packages: &[ReservedPackage],
    ) -> Result<(), PoolError> {
        let items: Vec<ReleaseItem> = packages
            .iter()
            .filter(|one| !one.package.spent)
            .map(|one| ReleaseItem {
                held: HeldItem {
                    device: DeviceKey::new(one.user.clone(), one.device.clone()),
                    reference: one.package.reference.clone(),
                    reservation: request.reservation.clone(),
                    holder: request.caller.holder.clone(),
                },
                unusable_reason: None,
            })
            .collect();
        if !items.is_empty() {
            self.store().release(&items, self.now()).await?;
        }
        Ok(())
    }
}

/// The devices that got nothing, and the targets that match no device.
fn without_package(items: &[ReserveItem], rows: &[ReserveRow]) -> Vec<MissingItem> {
    let devices = rows
        .iter()
        .filter(|row| matches!(row.outcome, ReserveOutcome::Missing))
        .map(|row| MissingItem { user: row.user.clone(), device: Some(row.device.clone()) });
    let unmatched = items
        .iter()
        .filter(|item| {
            !rows.iter().any(|row| {
                row.user == item.user && item.device.as_ref().is_none_or(|one| *one == row.device)
            })
        })
        .map(|item| MissingItem { user: item.user.clone(), device: item.device.clone() });
    devices.chain(unmatched).collect()
}

fn missing_targets(rows: &[ReserveRow], without: &[(MissingItem, Missing)]) -> Vec<MissingTarget> {
    let limited = rows.iter().filter_map(|row| {
        let reason = match row.outcome {
            ReserveOutcome::Limited => MissingReason::RateLimited,
            ReserveOutcome::OtherSuite => MissingReason::NoCompatiblePackage,
            _ => return None,
        };
        Some(MissingTarget { user: row.user.clone(), device: Some(row.device.clone()), reason })
    });
    let mut missing: Vec<MissingTarget> = without
        .iter()
        .filter_map(|(item, found)| {
            Some(MissingTarget {
                user: item.user.clone(),
                device: item.device.clone().filter(|_| found.user_known),
                reason: missing_reason(item, found)?,
            })
        })
        .chain(limited)
        .collect();
    missing.sort_by(|a, b| (&a.user, &a.device).cmp(&(&b.user, &b.device)));
    missing.dedup();
    missing
}

/// Why there is nothing; none for a user all of whose devices were excluded, of whom nothing is wanted.
fn missing_reason(item: &MissingItem, found: &Missing) -> Option<MissingReason> {
    match (found, &item.device) {
        (Missing { user_known: false, .. }, _) => Some(MissingReason::UnknownUser),
        (_, None) => None,
        (Missing { device_known: false, .. }, _) => Some(MissingReason::UnknownDevice),
        (Missing { suite_known: false, .. } | Missing { expires_too_soon: true, .. }, _) => {
            Some(MissingReason::NoCompatiblePackage)
        }
        _ => Some(MissingReason::PoolExhausted),
    }
}

fn conflict(rows: &[ReserveRow], reservation: &ReservationId) -> Option<PoolError> {
    rows.iter().find_map(|row| match row.outcome {
        ReserveOutcome::OtherHolder => Some(PoolError::NotTheHolder(reservation.clone())),
        ReserveOutcome::OtherGroup => Some(PoolError::ReservationIdReused(reservation.clone())),
        _ => None,
    })
}

fn reserved(row: ReserveRow) -> Option<ReservedPackage> {
    match row.outcome {
        ReserveOutcome::Reserved(package) => {
            Some(ReservedPackage { user: row.user, device: row.device, package })
        }
        _ => None,
    }
}
