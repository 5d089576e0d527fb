use super::{DeviceStatus, KeyPackagePool, PoolError};
use crate::{
    store::{DeviceKey, Reconciled, RevokeSelector},
    types::{DeviceId, KeyPackageRef, UserId},
};

/// Which packages to revoke.
#[derive(Debug, Clone)]
pub enum Selector {
    /// Those with one of these refs.
    Refs(Vec<KeyPackageRef>),
    /// Those with this TLS-encoded credential, this signature key, or both.
    Credential {
        /// The credential, if it matters.
        credential: Option<Vec<u8>>,
        /// The signature key, if it matters.
        signature_key: Option<Vec<u8>>,
    },
    /// Every package.
    All,
}

impl From<Selector> for RevokeSelector {
    fn from(selector: Selector) -> Self {
        match selector {
            Selector::Refs(refs) => Self { refs: Some(refs), ..Self::default() },
            Selector::Credential { credential, signature_key } => {
                Self { credential, signature_key, ..Self::default() }
            }
            Selector::All => Self::default(),
        }
    }
}

/// What a reconcile found on both sides.
#[derive(Debug, Clone)]
pub struct ReconcileReport {
    /// Packages that the device had lost, and that are revoked now.
    pub revoked: Vec<KeyPackageRef>,
    /// Packages of the device that can't be handed out now.
    pub unavailable: Vec<Reconciled>,
    /// The pool afterwards.
    pub status: DeviceStatus,
}

impl KeyPackagePool {
    /// Takes packages of a user, or of one device, out of circulation, and returns how many were not before.
    ///
    /// # Errors
    /// If the user or device is unknown.
    pub async fn revoke(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
        selector: Selector,
    ) -> Result<usize, PoolError> {
        let _call = self.admit()?;
        let now = self.now();
        let revoked = self.store().revoke(user, device, &selector.into(), now).await?;
        self.inner.fence.note_acknowledged();
        if revoked.is_empty() {
            // Nothing to revoke, or nobody whose packages could be?
            self.read_status(user, device).await?;
        }
        if let Some(device) = device {
            self.inner.watches.touch(&DeviceKey::new(user.clone(), device.clone()));
        }
        Ok(revoked.len())
    }

    /// Revokes the device's unspent packages that it doesn't list, and says which of those that it lists can't be
    /// handed out now. What was quarantined of those can be handed out again.
    ///
    /// # Errors
    /// If the user or device is unknown.
    pub async fn reconcile(
        &self,
        user: &UserId,
        device: &DeviceId,
        refs: Vec<KeyPackageRef>,
    ) -> Result<ReconcileReport, PoolError> {
        let _call = self.admit()?;
        self.read_status(user, Some(device)).await?;
        let key = DeviceKey::new(user.clone(), device.clone());
        let lost = RevokeSelector { except: Some(refs.clone()), ..RevokeSelector::default() };
        let revoked = self.store().revoke(user, Some(device), &lost, self.now()).await?;
        self.store().vouch(&key, &refs, self.now()).await?;
        self.inner.fence.note_acknowledged();
        let unavailable = self.store().unavailable(&key, &refs, self.now()).await?;
        let status = self.device_status(user, device).await?;
        self.inner.watches.touch(&key);
        Ok(ReconcileReport { revoked, unavailable, status })
    }
}
