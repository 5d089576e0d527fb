//! What `reserve` made, and what can be done with it.

mod answer;
mod holds;
mod many_targets;
mod outcomes;
mod parts;
mod release;
mod spend;

use std::time::{Duration, SystemTime};

use keypool_proto::v1::ReserveKeyPackagesRequest;
use tokio::time::Instant;

use self::many_targets::{Reserved, reserve};
use self::outcomes::Outcomes;
use crate::{Client, Missing, ReservedPackage, Result};

pub(crate) use holds::{Extended, Holds};
pub(crate) use many_targets::Before;
pub use parts::ReservationParts;

/// The service takes so many packages in one call.
const MAX_PACKAGES_PER_CALL: usize = 100;

/// Packages held for one invite, for a limited time.
///
/// Spend them before the Welcome goes out: whoever spent a package is the only one that may use it.
/// A reservation that is dropped before anything was spent is released in the background, if a Tokio
/// runtime is there to do it; otherwise the packages stay held until the hold ends.
#[derive(Debug)]
#[must_use = "a dropped reservation is released"]
pub struct Reservation {
    client: Client,
    request: ReserveKeyPackagesRequest,
    packages: Vec<ReservedPackage>,
    missing: Vec<Missing>,
    /// No hold ends sooner than then, by this process's clock. `None` if that is not known.
    held_until: Option<Instant>,
    release_on_drop: bool,
    may_have_spent: bool,
}

impl Reservation {
    pub(crate) async fn make(
        client: Client,
        request: ReserveKeyPackagesRequest,
        before: Before<'_>,
    ) -> Result<Self> {
        let asked_at = Instant::now();
        let Reserved { packages, missing } = reserve(&client, &request, before).await?;
        let may_have_spent = is_any_spent(&packages);
        let mut reservation = Self {
            client,
            request,
            packages,
            missing,
            held_until: None,
            release_on_drop: true,
            may_have_spent,
        };
        if let Before::Nothing = before {
            // No hold is older than the call.
            reservation.held_until = reservation.ttl().and_then(|ttl| asked_at.checked_add(ttl));
        }
        Ok(reservation)
    }

    /// A reservation of which only the names of its packages are known, to spend or release them.
    #[cfg(feature = "openmls")]
    pub(crate) fn named(client: Client, request: ReserveKeyPackagesRequest) -> Self {
        Self {
            client,
            request,
            packages: Vec::new(),
            missing: Vec::new(),
            held_until: None,
            release_on_drop: false,
            may_have_spent: false,
        }
    }

    /// What it holds now, to be extended and released apart from it.
    pub(crate) fn holds(&self) -> Holds {
        Holds::of(&self.request, &self.packages)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// How long each hold lasts, if the caller said so.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        self.request.ttl.and_then(|ttl| ttl.try_into().ok())
    }

    /// When the first of its holds ends, or a little before, by this process's clock. `None` if that is
    /// not known.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// The users and devices that it asks for.
    #[cfg(feature = "openmls")]
    pub(crate) fn targets(&self) -> Vec<crate::Target> {
        self.request.targets.iter().cloned().map(crate::Target::from).collect()
    }

    /// Asks for no package of this device any more.
    #[cfg(feature = "openmls")]
    pub(crate) fn leave_out(&mut self, user_id: &str, device_id: &str) {
        let targets = self.targets().into_iter();
        let others = targets.filter_map(|target| target.without(user_id, device_id));
        self.request.targets = others.map(Into::into).collect();
    }

    /// Whether any package of the reservation is spent, or may be.
    #[cfg(feature = "openmls")]
    pub(crate) fn may_have_spent(&self) -> bool {
        self.may_have_spent
    }

    /// As plain data, to be stored; [`Client::resume`] takes it up again after a crash. While this
    /// reservation lives, it is released when dropped all the same.
    #[cfg(feature = "serde")]
    #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
    #[must_use]
    pub fn save(&self) -> crate::SavedReservation {
        crate::SavedReservation {
            request: self.request.clone(),
            packages: self.packages.clone(),
            missing: self.missing.clone(),
        }
    }

    #[cfg(feature = "serde")]
    pub(crate) fn taken_up(client: Client, saved: crate::SavedReservation) -> Self {
        let crate::SavedReservation { mut request, packages, missing } = saved;
        // Whose it is does not come from what was stored, which may have been in other hands.
        request.on_behalf_of.clone_from(&client.settings().on_behalf_of);
        Self {
            client,
            request,
            packages,
            missing,
            held_until: None,
            release_on_drop: true,
            may_have_spent: true,
        }
    }

    /// The reservation's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.request.reservation_id
    }

    /// The group that it was made for.
    #[must_use]
    pub fn group_id(&self) -> &[u8] {
        &self.request.group_id
    }

    /// The packages, at most one for each device.
    #[must_use]
    pub fn packages(&self) -> &[ReservedPackage] {
        &self.packages
    }

    /// The users and devices for which there was none, and why.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Reserves again, under the same id: keeps what is held, and tries what is missing once more.
    ///
    /// If the future is dropped before its end, the reservation is as it was, too; what was added lapses
    /// unless the next `ensure` finds it.
    ///
    /// # Errors
    ///
    /// As [`ReserveBuilder::send`](crate::ReserveBuilder::send). The reservation is then as it was: what
    /// this call added is given back, and nothing else.
    pub async fn ensure(&mut self) -> Result<()> {
        let before = Before::Packages(&self.packages);
        let reserved = reserve(&self.client, &self.request, before).await?;
        self.packages = reserved.packages;
        self.missing = reserved.missing;
        // Some may be held since an earlier ensure.
        self.held_until = None;
        self.may_have_spent |= is_any_spent(&self.packages);
        Ok(())
    }

    /// Holds the unspent packages for `ttl` from now on: 1 second to 10 minutes. A hold is never
    /// shortened. Returns when the first of them ends, or `None` if there was nothing to prolong.
    ///
    /// # Errors
    ///
    /// As [`spend`](Self::spend). The packages whose outcome has no reason are extended all the same.
    pub async fn extend(&mut self, ttl: Duration) -> Result<Option<SystemTime>> {
        let mut outcomes = Outcomes::default();
        let mut first_end = None;
        let mut instants = Vec::new();
        for mut part in self.holds().per_call() {
            let names = part.names().to_vec();
            let Extended { end, failure } = part.extend(&self.client, Some(ttl)).await;
            match failure {
                None => outcomes.succeeded(&names),
                Some(error) => outcomes.failed(error),
            }
            instants.push(end.and_then(|end| end.instant));
            let Some(end) = end else { continue };
            for package in self.packages.iter_mut().filter(|p| part.names().contains(&p.name)) {
                package.hold_expires = Some(end.time);
            }
            first_end = Some(first_end.map_or(end.time, |first: SystemTime| first.min(end.time)));
        }
        // No hold was shortened: what was known before stays true after a failure.
        outcomes.into_result()?;
        // None, that is unknown, is the least.
        self.held_until = instants.into_iter().min().flatten();
        Ok(first_end)
    }
}

fn is_any_spent(packages: &[ReservedPackage]) -> bool {
    packages.iter().any(|package| package.spent)
}
