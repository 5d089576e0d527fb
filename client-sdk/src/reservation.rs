//! What `reserve` made, and what can be done with it.

use std::time::{Duration, SystemTime};

use keypool_proto::v1::{
    self, ExtendReservationRequest, KeyPackageName, ReleaseReservationRequest, ReleasedKeyPackage,
    ReserveKeyPackagesRequest, ReserveKeyPackagesResponse, SpendReservationRequest, UnusableReason,
};
use tokio::runtime::Handle;

use crate::package::to_time;
use crate::reserve::to_proto;
use crate::{Client, Error, Missing, ReservedPackage, Result};

/// The service takes so many targets in one call, and so many packages.
const MAX_TARGETS_PER_CALL: usize = 100;
const MAX_PACKAGES_PER_CALL: usize = 100;

/// Packages held for one invite, for a limited time.
///
/// Spend them before the Welcome goes out: whoever spent a package is the only one that may use it.
/// A reservation that is dropped before anything was spent is released in the background, if a Tokio
/// runtime is there to do it; otherwise the packages return to their pools when the hold ends.
#[derive(Debug)]
#[must_use = "a dropped reservation is released"]
pub struct Reservation {
    client: Client,
    request: ReserveKeyPackagesRequest,
    packages: Vec<ReservedPackage>,
    missing: Vec<Missing>,
    release_on_drop: bool,
    may_have_spent: bool,
}

impl Reservation {
    pub(crate) async fn make(client: Client, request: ReserveKeyPackagesRequest) -> Result<Self> {
        let (packages, missing) = reserve(&client, &request).await?;
        let may_have_spent = packages.iter().any(|package| package.spent);
        Ok(Self { client, request, packages, missing, release_on_drop: true, may_have_spent })
    }

    /// A reservation of which only the names of its packages are known, to spend or release them.
    #[cfg(feature = "openmls")]
    pub(crate) fn named(client: Client, request: ReserveKeyPackagesRequest) -> Self {
        let (packages, missing) = (Vec::new(), Vec::new());
        Self { client, request, packages, missing, release_on_drop: false, may_have_spent: false }
    }

    /// The holds, to be extended apart from the reservation.
    pub(crate) fn holds(&self) -> Self {
        Self {
            client: self.client.clone(),
            request: self.request.clone(),
            packages: self.packages.clone(),
            missing: Vec::new(),
            release_on_drop: false,
            may_have_spent: self.may_have_spent,
        }
    }

    /// How long each hold lasts, if the caller said so.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        self.request.ttl.and_then(|ttl| ttl.try_into().ok())
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
        Self { client, request, packages, missing, release_on_drop: true, may_have_spent: true }
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
    /// # Errors
    ///
    /// As [`ReserveBuilder::send`](crate::ReserveBuilder::send). The reservation is then as it was.
    pub async fn ensure(&mut self) -> Result<()> {
        (self.packages, self.missing) = reserve(&self.client, &self.request).await?;
        Ok(())
    }

    /// Uses all its packages up, for good. Call this before the Welcome goes out; if it fails, don't
    /// send the Welcome.
    ///
    /// # Errors
    ///
    /// If any package could not be spent, with [`Error::outcomes`]: [`Error::ReservationLost`],
    /// [`Error::KeyPackageAlreadySpent`], [`Error::KeyPackageExpired`],
    /// [`Error::KeyPackageRevoked`], [`Error::ReservationNotFound`]. The packages whose outcome has
    /// no reason are spent all the same, and [marked](ReservedPackage::spent) so. More than 100
    /// packages take several calls, of which the first failing one is the last.
    pub async fn spend(&mut self) -> Result<()> {
        let names: Vec<_> = self.packages.iter().map(|package| package.name.clone()).collect();
        self.spend_packages(&names).await
    }

    /// Uses some of its packages up, for good. The others stay held.
    ///
    /// # Errors
    ///
    /// As [`spend`](Self::spend).
    pub async fn spend_packages(&mut self, names: &[KeyPackageName]) -> Result<()> {
        self.release_on_drop = false;
        for names in names.chunks(MAX_PACKAGES_PER_CALL) {
            let spent = self.spend_chunk(names).await;
            self.may_have_spent |= spent.as_ref().err().is_none_or(may_have_spent);
            self.mark_spent(names, spent.as_ref().err());
            spent?;
        }
        Ok(())
    }

    async fn spend_chunk(&self, names: &[KeyPackageName]) -> Result<()> {
        let request = SpendReservationRequest {
            reservation_id: self.request.reservation_id.clone(),
            group_id: self.request.group_id.clone(),
            packages: names.to_vec(),
            on_behalf_of: self.request.on_behalf_of.clone(),
        };
        self.client.call(request).await.map(drop)
    }

    fn mark_spent(&mut self, names: &[KeyPackageName], error: Option<&Error>) {
        let succeeded = |name: &KeyPackageName| match error {
            None => names.contains(name),
            Some(error) => error
                .outcomes()
                .iter()
                .any(|outcome| outcome.name == *name && outcome.reason.is_none()),
        };
        for package in self.packages.iter_mut().filter(|package| succeeded(&package.name)) {
            package.spent = true;
            package.hold_expires = None;
        }
    }

    /// Holds the unspent packages for `ttl` from now on: 1 second to 10 minutes. A hold is never
    /// shortened. Returns when the first of them ends, or `None` if there was nothing to prolong.
    ///
    /// # Errors
    ///
    /// As [`spend`](Self::spend).
    pub async fn extend(&mut self, ttl: Duration) -> Result<Option<SystemTime>> {
        let mut first_end = None;
        for names in self.held().chunks(MAX_PACKAGES_PER_CALL) {
            let end = self.extend_chunk(names, ttl).await?;
            for package in self.packages.iter_mut().filter(|p| names.contains(&p.name)) {
                package.hold_expires = Some(end);
            }
            first_end = Some(first_end.map_or(end, |first: SystemTime| first.min(end)));
        }
        Ok(first_end)
    }

    async fn extend_chunk(&self, names: &[KeyPackageName], ttl: Duration) -> Result<SystemTime> {
        let request = ExtendReservationRequest {
            reservation_id: self.request.reservation_id.clone(),
            packages: names.to_vec(),
            ttl: Some(to_proto(ttl)),
            on_behalf_of: self.request.on_behalf_of.clone(),
        };
        let response = self.client.call(request).await?;
        to_time(response.expire_time)?.ok_or_else(|| Error::protocol("a hold without an end"))
    }

    /// Gives the unspent packages back: each can be reserved again at once.
    ///
    /// # Errors
    ///
    /// [`Error::KeyPackageAlreadySpent`] if one turns out to be spent, and [`Error::NotTheHolder`].
    pub async fn release(mut self) -> Result<()> {
        self.release_on_drop = false;
        self.release_request(self.held()).send(&self.client).await
    }

    /// Gives these packages back.
    #[cfg(feature = "openmls")]
    pub(crate) async fn release_packages(self, names: Vec<KeyPackageName>) -> Result<()> {
        self.release_request(names).send(&self.client).await
    }

    /// Reports a package as unusable: it is revoked in place of given back, nobody else gets it, and
    /// the device's status says so. With [`UnusableReason::Unspecified`] it is just given back.
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release).
    pub async fn release_unusable(
        &mut self,
        name: &KeyPackageName,
        reason: UnusableReason,
    ) -> Result<()> {
        let mut release = self.release_request(vec![name.clone()]);
        release.reason = reason;
        release.send(&self.client).await?;
        self.packages.retain(|package| package.name != *name);
        Ok(())
    }

    /// Lets go of the reservation without releasing it, and returns its id. It can be taken up again
    /// with [`ReserveBuilder::reservation_id`](crate::ReserveBuilder::reservation_id).
    pub fn keep(mut self) -> String {
        self.release_on_drop = false;
        std::mem::take(&mut self.request.reservation_id)
    }

    /// Like [`keep`](Self::keep), but returns the packages and what is missing, too.
    pub fn into_parts(mut self) -> ReservationParts {
        self.release_on_drop = false;
        ReservationParts {
            id: std::mem::take(&mut self.request.reservation_id),
            group_id: std::mem::take(&mut self.request.group_id),
            packages: std::mem::take(&mut self.packages),
            missing: std::mem::take(&mut self.missing),
        }
    }

    fn held(&self) -> Vec<KeyPackageName> {
        let held = self.packages.iter().filter(|package| !package.spent);
        held.map(|package| package.name.clone()).collect()
    }

    fn release_request(&self, names: Vec<KeyPackageName>) -> Release {
        Release {
            reservation_id: self.request.reservation_id.clone(),
            on_behalf_of: self.request.on_behalf_of.clone(),
            names,
            reason: UnusableReason::Unspecified,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.release_on_drop {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let release = self.release_request(self.held());
        let client = self.client.clone();
        runtime.spawn(async move {
            if let Err(error) = release.send(&client).await {
                tracing::debug!(%error, "a dropped reservation was not released; it will lapse");
            }
        });
    }
}

/// The parts of a [`Reservation`]. See [`Reservation::into_parts`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReservationParts {
    /// The reservation's id.
    pub id: String,
    /// The group that it was made for.
    pub group_id: Vec<u8>,
    /// The packages.
    pub packages: Vec<ReservedPackage>,
    /// The users and devices for which there was none, and why.
    pub missing: Vec<Missing>,
}

/// A release that lives longer than its reservation.
struct Release {
    reservation_id: String,
    on_behalf_of: String,
    names: Vec<KeyPackageName>,
    reason: UnusableReason,
}

impl Release {
    async fn send(&self, client: &Client) -> Result<()> {
        for names in self.names.chunks(MAX_PACKAGES_PER_CALL) {
            let released = |name: &KeyPackageName| ReleasedKeyPackage {
                name: Some(name.clone()),
                unusable_reason: self.reason.into(),
            };
            let request = ReleaseReservationRequest {
                reservation_id: self.reservation_id.clone(),
                packages: names.iter().map(released).collect(),
                on_behalf_of: self.on_behalf_of.clone(),
            };
            client.call(request).await?;
        }
        Ok(())
    }
}

/// Whether a spend that failed may have spent something all the same.
fn may_have_spent(error: &Error) -> bool {
    match error.outcomes() {
        [] => !matches!(
            error,
            Error::InvalidArgument(_)
                | Error::NotTheHolder(_)
                | Error::PermissionDenied(_)
                | Error::Unauthenticated(_)
        ),
        outcomes => outcomes.iter().any(|outcome| outcome.reason.is_none()),
    }
}

type Reserved = (Vec<ReservedPackage>, Vec<Missing>);

/// Reserves for any number of targets, as if the service took them in one call.
async fn reserve(client: &Client, request: &ReserveKeyPackagesRequest) -> Result<Reserved> {
    if request.targets.len() <= MAX_TARGETS_PER_CALL {
        return reserve_chunk(client, request).await;
    }
    let (mut packages, mut missing) = (Vec::new(), Vec::new());
    let mut failure = None;
    for targets in request.targets.chunks(MAX_TARGETS_PER_CALL) {
        let chunk = ReserveKeyPackagesRequest { targets: targets.to_vec(), ..request.clone() };
        match reserve_chunk(client, &chunk).await {
            Ok((more, lacking)) => {
                packages.extend(more);
                missing.extend(lacking);
            }
            // Nothing for these targets: others may have something.
            Err(error) if !error.missing().is_empty() && !request.require_all => {
                missing.extend_from_slice(error.missing());
                failure.get_or_insert(error);
            }
            Err(error) => {
                give_back(client, request, &packages).await;
                return Err(error);
            }
        }
    }
    match failure {
        Some(error) if packages.is_empty() => Err(error),
        _ => Ok((packages, missing)),
    }
}

/// Best effort: what is not given back lapses.
async fn give_back(
    client: &Client,
    request: &ReserveKeyPackagesRequest,
    packages: &[ReservedPackage],
) {
    let unspent = packages.iter().filter(|package| !package.spent);
    let release = Release {
        reservation_id: request.reservation_id.clone(),
        on_behalf_of: request.on_behalf_of.clone(),
        names: unspent.map(|package| package.name.clone()).collect(),
        reason: UnusableReason::Unspecified,
    };
    if let Err(error) = release.send(client).await {
        tracing::debug!(%error, "a part of a reservation was not released; it will lapse");
    }
}

async fn reserve_chunk(client: &Client, request: &ReserveKeyPackagesRequest) -> Result<Reserved> {
    let ReserveKeyPackagesResponse { reservation, missing } = client.call(request.clone()).await?;
    let reservation = reservation.ok_or_else(|| Error::protocol("no reservation in its answer"))?;
    check_echo(request, &reservation)?;
    let packages = reservation.packages.into_iter().map(TryInto::try_into);
    Ok((packages.collect::<Result<_>>()?, missing.into_iter().map(Into::into).collect()))
}

fn check_echo(request: &ReserveKeyPackagesRequest, answer: &v1::Reservation) -> Result<()> {
    if answer.reservation_id == request.reservation_id && answer.group_id == request.group_id {
        Ok(())
    } else {
        Err(Error::protocol("the answer is about another reservation"))
    }
}
