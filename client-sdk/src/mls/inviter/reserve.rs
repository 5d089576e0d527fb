//! Reserving packages that pass verification.

use keypool_proto::v1::KeyPackageName;
use openmls::prelude::{KeyPackage, MlsGroup, OpenMlsCrypto};

use super::devices::listed;
use super::verify::{Needs, Verification};
use super::{InviteError, InviteRecord, InviteStage, Inviter, PackageFault, RejectedPackage};
use crate::mls::{CredentialVerifier, UntrustedDevices};
use crate::reservation::Before;
use crate::{Error, KeepAlive, Missing, Reservation};

/// How often packages are reserved in place of unusable ones.
const REPLACEMENTS: usize = 3;

pub(super) type Package = (KeyPackageName, KeyPackage);

/// A reservation with at least one package to add.
pub(super) struct Verified {
    pub(super) reservation: Reservation,
    /// Holds the packages until the commit is made.
    pub(super) alive: KeepAlive,
    pub(super) packages: Vec<Package>,
    pub(super) missing: Vec<Missing>,
    pub(super) unusable: Vec<RejectedPackage>,
}

impl<V: CredentialVerifier> Inviter<V> {
    /// Reserves a package for each target, verifies it, and reserves others in place of unusable ones.
    pub(super) async fn reserve_verified<C: OpenMlsCrypto>(
        &self,
        group: &MlsGroup,
        crypto: &C,
        record: &mut InviteRecord,
    ) -> Result<Verified, InviteError> {
        let request = record.request.clone();
        // A recovery takes up what was reserved before.
        let before = match record.stage {
            InviteStage::Reserving { spent: false, .. } => Before::Nothing,
            _ => Before::Unknown,
        };
        let needs = Needs::of(group);
        let reserved = Reservation::make(self.client.clone(), request, before).await;
        let mut reservation = reserved.map_err(InviteError::Reserve)?;
        let mut alive = reservation.keep_alive();
        let (mut unusable, mut still_missing) = (Vec::<RejectedPackage>::new(), Vec::new());
        let mut rounds = 0..REPLACEMENTS;
        let packages = loop {
            let verified = self.verify(&reservation, crypto, &needs);
            let (packages, rejected) = match verified {
                Ok(verified) => verified,
                Err(untrusted) => {
                    release(reservation).await;
                    return Err(InviteError::Devices(untrusted));
                }
            };
            if !rejected.is_empty() {
                give_back(&mut reservation, &rejected).await;
            }
            let is_new =
                |one: &RejectedPackage| unusable.iter().all(|known| known.name != one.name);
            let (replaceable, given_back): (Vec<_>, Vec<_>) =
                rejected.into_iter().partition(|one| one.fault.is_reported() && is_new(one));
            // It would come again, and keep others from it meanwhile.
            for RejectedPackage { name, .. } in &given_back {
                reservation.leave_out(&name.user_id, &name.device_id);
            }
            let is_hopeless = record.request.require_all && !given_back.is_empty();
            let is_replaceable = !replaceable.is_empty() && !is_hopeless;
            let told: Vec<_> = replaceable.into_iter().chain(given_back).filter(is_new).collect();
            unusable.extend(told);
            if !is_replaceable || rounds.next().is_none() {
                break packages;
            }
            match reservation.ensure().await {
                Ok(()) => alive = reservation.keep_alive(),
                Err(error)
                    if record.request.require_all || matches!(error, Error::WrongAnswer(_)) =>
                {
                    release(reservation).await;
                    return Err(InviteError::Reserve(error));
                }
                Err(error) => {
                    still_missing.extend_from_slice(error.missing());
                    break packages;
                }
            }
        };

        let missing = [reservation.missing(), &still_missing].concat();
        let is_complete = missing.is_empty() && unusable.iter().all(|r| is_replaced(r, &packages));
        if packages.is_empty() || (record.request.require_all && !is_complete) {
            release(reservation).await;
            return Err(InviteError::Incomplete { missing, unusable });
        }
        let held = packages.iter().map(|(name, _)| name.clone()).collect();
        record.stage = InviteStage::Reserving { held, spent: reservation.may_have_spent() };
        self.journal.note(record);
        Ok(Verified { reservation, alive, packages, missing, unusable })
    }

    fn verify<C: OpenMlsCrypto>(
        &self,
        reservation: &Reservation,
        crypto: &C,
        needs: &Needs,
    ) -> Result<(Vec<Package>, Vec<RejectedPackage>), UntrustedDevices> {
        let mut verification = Verification::new(crypto, &self.verifier, needs, self.max_lifetime);
        let checked = reservation.packages().iter().map(|one| (one, verification.check(one)));
        let checked: Vec<_> = checked.collect();
        for user in listed(&reservation.targets(), reservation, &checked) {
            self.verifier.verify_devices(&user)?;
        }
        let mut packages = Vec::new();
        let mut rejected = Vec::new();
        for (package, checked) in checked {
            let name = package.name.clone();
            match checked.and_then(|key_package| verification.verify(&name, key_package)) {
                Ok(key_package) => packages.push((name, key_package)),
                Err(fault) => rejected.push(RejectedPackage { name, fault }),
            }
        }
        Ok((packages, rejected))
    }
}

fn is_replaced(rejected: &RejectedPackage, packages: &[Package]) -> bool {
    packages.iter().any(|(name, _)| {
        name.user_id == rejected.name.user_id && name.device_id == rejected.name.device_id
    })
}

/// Best effort: what is not given back lapses.
async fn give_back(reservation: &mut Reservation, rejected: &[RejectedPackage]) {
    for RejectedPackage { name, fault } in rejected {
        tracing::warn!(user = name.user_id, device = name.device_id, %fault, "rejected a package");
        if *fault == PackageFault::Forgotten {
            continue; // it is spent
        }
        if let Err(error) = reservation.release_unusable(name, fault.unusable_reason()).await {
            tracing::debug!(%error, "a rejected package was not given back");
        }
    }
}

/// Best effort: what is not released lapses.
pub(super) async fn release(reservation: Reservation) {
    if let Err(error) = reservation.release().await {
        tracing::debug!(%error, "a reservation was not released");
    }
}
