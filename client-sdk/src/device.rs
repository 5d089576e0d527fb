//! A device's side: its own pool.

use std::collections::HashSet;
use std::time::SystemTime;

use keypool_proto::v1::revoke_key_packages_request::Selector;
use keypool_proto::v1::{
    self, AllKeyPackages, CredentialSelector, DevicePoolStatus, GetPoolStatusRequest,
    KeyPackageRefs, ReconcilePoolRequest, ReconciledKeyPackage, RejectionReason,
    RevokeKeyPackagesRequest, UploadKeyPackagesRequest,
};

use prost_types::Timestamp;

use crate::package::to_time;
use crate::{Client, Error, Result, WrongAnswer};

impl Client {
    /// Adds packages to a device's pool: 1 to 100 TLS-encoded KeyPackages (RFC 9420, section 10),
    /// not wrapped in an MLSMessage. Each is judged for itself. The accepted ones are durable when
    /// this returns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for no packages, or too many. A rejected package is no error.
    pub async fn upload(
        &self,
        user_id: impl Into<String>,
        device_id: impl Into<String>,
        key_packages: Vec<Vec<u8>>,
    ) -> Result<Uploaded> {
        let count = key_packages.len();
        let (user_id, device_id) = (user_id.into(), device_id.into());
        let request = UploadKeyPackagesRequest {
            user_id: user_id.clone(),
            device_id: device_id.clone(),
            key_packages,
        };
        let response = self.call(request).await?;
        if response.results.len() != count {
            return Err(WrongAnswer::Results.into());
        }
        let results = response.results.into_iter().map(TryInto::try_into);
        Ok(Uploaded {
            results: results.collect::<Result<_>>()?,
            pool_status: status_of(&user_id, &device_id, response.pool_status)?,
            service_time: to_time(response.service_time)?,
        })
    }

    /// The state of a device's pool.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`], or [`Error::UnknownDevice`] if it never uploaded anything.
    pub async fn pool_status(
        &self,
        user_id: impl Into<String>,
        device_id: impl Into<String>,
    ) -> Result<DevicePoolStatus> {
        Ok(self.pool_status_with_time(user_id, device_id).await?.0)
    }

    /// The same, and when it was read, by the service's clock: of when a list is that is made afterwards
    /// for [`Self::reconcile`]. A service of an earlier version does not say when.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`], or [`Error::UnknownDevice`] if it never uploaded anything.
    pub async fn pool_status_with_time(
        &self,
        user_id: impl Into<String>,
        device_id: impl Into<String>,
    ) -> Result<(DevicePoolStatus, Option<Timestamp>)> {
        let (user_id, device_id) = (user_id.into(), device_id.into());
        let request =
            GetPoolStatusRequest { user_id: user_id.clone(), device_id: device_id.clone() };
        let response = self.call(request).await?;
        Ok((only_status_of(&user_id, &device_id, response.devices)?, response.read_time))
    }

    /// The state of the pool of each device that the user has, ordered by device id.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`] if none of them ever uploaded anything.
    pub async fn pool_status_of_user(
        &self,
        user_id: impl Into<String>,
    ) -> Result<Vec<DevicePoolStatus>> {
        let (user_id, device_id) = (user_id.into(), String::new());
        let request = GetPoolStatusRequest { user_id: user_id.clone(), device_id };
        let devices = self.call(request).await?.devices;
        let mut known = HashSet::new();
        for status in &devices {
            check_status(&user_id, &status.device_id, status)?;
            if !known.insert(&status.device_id) {
                let device_id = status.device_id.clone();
                return Err(WrongAnswer::TwoAnswers { user_id, device_id }.into());
            }
        }
        Ok(devices)
    }

    /// Aligns the pool with the private keys that the device still has: what it lists is compared,
    /// and unspent packages that it doesn't list are revoked. At most 1000 refs; none says that all
    /// keys are lost.
    ///
    /// `as_of` says when the list was made, by the service's clock: the time of a status that was
    /// [read](Self::pool_status_with_time) before the list was begun. Packages that were uploaded
    /// later, by another process of the device perhaps, are left alone. Without it that goes
    /// for what was uploaded after the service received the call.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`] and [`Error::UnknownDevice`].
    pub async fn reconcile(
        &self,
        user_id: impl Into<String>,
        device_id: impl Into<String>,
        key_package_refs: Vec<Vec<u8>>,
        as_of: Option<Timestamp>,
    ) -> Result<Reconciled> {
        let (user_id, device_id) = (user_id.into(), device_id.into());
        let listed: HashSet<_> = key_package_refs.iter().cloned().collect();
        let request = ReconcilePoolRequest {
            user_id: user_id.clone(),
            device_id: device_id.clone(),
            key_package_refs,
            as_of,
        };
        let response = self.call(request).await?;
        // What the device has is never revoked by this call, and only that is said to be unavailable.
        let unavailable = response.unavailable_key_packages.iter();
        let mut unavailable = unavailable.map(|one| &one.key_package_ref);
        if response.revoked_key_package_refs.iter().any(|revoked| listed.contains(revoked))
            || !unavailable.all(|unavailable| listed.contains(unavailable))
        {
            return Err(WrongAnswer::Results.into());
        }
        Ok(Reconciled {
            revoked: response.revoked_key_package_refs,
            unavailable: response.unavailable_key_packages,
            pool_status: status_of(&user_id, &device_id, response.pool_status)?,
        })
    }

    /// Takes packages of a device, or of every device of the user, out of circulation. Holds made
    /// before may still be spent for 24 hours. Returns how many packages this call revoked; if its
    /// first answer was lost, those that it revoked before are not counted.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`] and [`Error::UnknownDevice`].
    pub async fn revoke(
        &self,
        user_id: impl Into<String>,
        device_id: Option<&str>,
        which: Revoke,
    ) -> Result<u32> {
        let request = RevokeKeyPackagesRequest {
            user_id: user_id.into(),
            device_id: device_id.unwrap_or_default().to_owned(),
            selector: Some(which.into()),
        };
        Ok(self.call(request).await?.revoked_count)
    }
}

/// The status of this device, and of no other.
pub(crate) fn status_of(
    user_id: &str,
    device_id: &str,
    status: Option<DevicePoolStatus>,
) -> Result<DevicePoolStatus> {
    let status = status.ok_or_else(|| Error::protocol("no pool status in its answer"))?;
    check_status(user_id, device_id, &status)?;
    Ok(status)
}

/// The only one of these statuses, which must be of this device.
pub(crate) fn only_status_of(
    user_id: &str,
    device_id: &str,
    mut statuses: Vec<DevicePoolStatus>,
) -> Result<DevicePoolStatus> {
    let status = status_of(user_id, device_id, statuses.pop())?;
    match statuses.first() {
        None => Ok(status),
        Some(other) => {
            Err(WrongAnswer::not_asked_for(&other.user_id, Some(&other.device_id)).into())
        }
    }
}

fn check_status(
    user_id: &str,
    device_id: &str,
    status: &DevicePoolStatus,
) -> Result<(), WrongAnswer> {
    if status.user_id == user_id && status.device_id == device_id && !device_id.is_empty() {
        return Ok(());
    }
    Err(WrongAnswer::not_asked_for(&status.user_id, Some(&status.device_id)))
}

/// What an upload did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Uploaded {
    /// What became of each package, in the order of the upload.
    pub results: Vec<UploadedPackage>,
    /// The pool after the upload.
    pub pool_status: DevicePoolStatus,
    /// When the service answered, by its own clock. `None` if it does not tell.
    pub service_time: Option<SystemTime>,
}

/// What became of one uploaded package.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadedPackage {
    /// Its KeyPackageRef (RFC 9420, section 5.2). Empty if the package could not be parsed.
    pub key_package_ref: Vec<u8>,
    /// What became of it.
    pub outcome: UploadOutcome,
}

/// What became of one uploaded package.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UploadOutcome {
    /// It is in the pool, durably.
    Accepted,
    /// It was in the pool already: as good as accepted.
    AlreadyPresent,
    /// It is not in the pool.
    Rejected {
        /// Why. [`RejectionReason::Unspecified`] if this version doesn't know the reason.
        reason: RejectionReason,
        /// The reason in words, for a log or a developer.
        message: String,
    },
}

impl TryFrom<v1::UploadResult> for UploadedPackage {
    type Error = Error;

    fn try_from(result: v1::UploadResult) -> Result<Self> {
        let outcome = match result.outcome() {
            v1::UploadOutcome::Accepted => UploadOutcome::Accepted,
            v1::UploadOutcome::AlreadyPresent => UploadOutcome::AlreadyPresent,
            v1::UploadOutcome::Rejected => {
                let reason = result.rejection_reason();
                UploadOutcome::Rejected { reason, message: result.message }
            }
            v1::UploadOutcome::Unspecified => {
                return Err(Error::protocol("an upload without an outcome"));
            }
        };
        Ok(Self { key_package_ref: result.key_package_ref, outcome })
    }
}

/// How the pool and the device's private keys differed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Reconciled {
    /// The refs of packages whose private keys are gone: revoked now.
    pub revoked: Vec<Vec<u8>>,
    /// Those of the device's packages that the pool can't hand out now, and why.
    pub unavailable: Vec<ReconciledKeyPackage>,
    /// The pool after the call.
    pub pool_status: DevicePoolStatus,
}

/// Which packages to revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revoke {
    /// Those with one of these KeyPackageRefs; 1 to 1000.
    Refs(Vec<Vec<u8>>),
    /// Those made with this TLS-encoded Credential (RFC 9420, section 5.3).
    Credential(Vec<u8>),
    /// Those made with this signature key.
    SignatureKey(Vec<u8>),
    /// All of them, last resort included.
    All,
}

impl From<Revoke> for Selector {
    fn from(which: Revoke) -> Self {
        match which {
            Revoke::Refs(key_package_refs) => Self::Refs(KeyPackageRefs { key_package_refs }),
            Revoke::Credential(credential) => {
                Self::Credential(CredentialSelector { credential, ..Default::default() })
            }
            Revoke::SignatureKey(signature_key) => {
                Self::Credential(CredentialSelector { signature_key, ..Default::default() })
            }
            Revoke::All => Self::All(AllKeyPackages {}),
        }
    }
}
