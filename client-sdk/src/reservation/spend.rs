//! Using packages up.

use keypool_proto::v1::{KeyPackageName, SpendReservationRequest};

use super::outcomes::checked;
use super::{MAX_PACKAGES_PER_CALL, Outcomes, Reservation};
use crate::{Error, Result};

impl Reservation {
    /// Uses all its packages up, for good. Call this before the Welcome goes out; if it fails, don't
    /// send the Welcome.
    ///
    /// # Errors
    ///
    /// If any package could not be spent, with [`Error::outcomes`]: [`Error::ReservationLost`],
    /// [`Error::KeyPackageAlreadySpent`], [`Error::KeyPackageExpired`],
    /// [`Error::KeyPackageRevoked`], [`Error::ReservationNotFound`]. [`Error::RateLimited`] says that
    /// nothing was done, and when to spend again. The packages whose outcome has
    /// no reason are spent all the same, and [marked](crate::ReservedPackage::spent) so. More than
    /// 100 packages take several calls, each of which is made whatever became of the others: of
    /// packages without an outcome it is not known whether they are spent. Spending again tells.
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
        let mut outcomes = Outcomes::default();
        for names in names.chunks(MAX_PACKAGES_PER_CALL) {
            // Unless an answer says otherwise: the future may be dropped meanwhile.
            let before = std::mem::replace(&mut self.may_have_spent, true);
            let spent = self.spend_chunk(names).await;
            self.may_have_spent =
                before || spent.as_ref().err().is_none_or(|error| may_have_spent(names, error));
            self.mark_spent(names, spent.as_ref().err());
            match spent {
                Ok(()) => outcomes.succeeded(names),
                Err(error) => outcomes.failed(error),
            }
        }
        outcomes.into_result()
    }

    async fn spend_chunk(&self, names: &[KeyPackageName]) -> Result<()> {
        let request = SpendReservationRequest {
            reservation_id: self.request.reservation_id.clone(),
            group_id: self.request.group_id.clone(),
            packages: names.to_vec(),
            on_behalf_of: self.request.on_behalf_of.clone(),
        };
        let answer = self.client.call(request).await;
        checked(names, answer, |answer| &answer.outcomes).map(drop)
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
}

/// Whether a spend that failed may have spent something all the same.
fn may_have_spent(names: &[KeyPackageName], error: &Error) -> bool {
    match error.outcomes() {
        [] => !matches!(
            error,
            Error::InvalidArgument(_) | Error::PermissionDenied(_) | Error::Unauthenticated(_)
        ),
        outcomes => {
            let is_partial = outcomes.len() < names.len();
            is_partial || outcomes.iter().any(|outcome| outcome.reason.is_none())
        }
    }
}
