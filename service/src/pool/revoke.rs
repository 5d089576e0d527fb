use super::{DeviceStatus, KeyPackagePool, PoolError};
use crate::{
    caller::Waiting,
    store::{DeviceKey, Reconciled, RevokeSelector},
    types::{DeviceId, KeyPackageRef, UserId},
};
use jiff::{SignedDuration, Timestamp};

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

/// How far the readings that two replicas have of the database's clock may be apart: a package that the caller knows of may have
/// been uploaded a little later than the call came.
const READINGS_DIFFER: SignedDuration = SignedDuration::from_millis(250);

impl KeyPackagePool {
    /// Takes packages of a user, or of one device, out of circulation, and returns how many were not before. Packages that were
    /// uploaded after the call came are others than it is about, unless it names them.
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
        // Refs are of packages that the caller knows.
        let as_of =
            (!matches!(selector, Selector::Refs(_))).then(|| self.received() + READINGS_DIFFER);
        let selector = RevokeSelector { as_of, ..selector.into() };
        let revoked = self.store().revoke(user, device, &selector, now).await?;
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
    /// handed out now. What was quarantined of those can be handed out again. What was uploaded after `as_of`, when the device
    /// had not begun to make the list, is left alone; if that is not known, what was uploaded after the call came.
    ///
    /// # Errors
    /// If the user or device is unknown.
    pub async fn reconcile(
        &self,
        user: &UserId,
        device: &DeviceId,
        refs: Vec<KeyPackageRef>,
        as_of: Option<Timestamp>,
    ) -> Result<ReconcileReport, PoolError> {
        let _call = self.admit()?;
        self.read_status(user, Some(device)).await?;
        let key = DeviceKey::new(user.clone(), device.clone());
        let received = self.received();
        let lost = RevokeSelector {
            except: Some(refs.clone()),
            as_of: Some(as_of.map_or(received, |as_of| as_of.min(received))),
            ..RevokeSelector::default()
        };
        let revoked = self.store().revoke(user, Some(device), &lost, self.now()).await?;
        self.inner.watches.touch(&key);
        let rest = async {
            self.store().vouch(&key, &refs, self.now()).await?;
            self.inner.fence.note_acknowledged();
            let unavailable = self.store().unavailable(&key, &refs, self.now()).await?;
            let status = self.device_status(user, device).await?;
            Ok(ReconcileReport { revoked, unavailable, status })
        };
        rest.await.map_err(PoolError::after_effects)
    }

    /// When the call came, or when the process froze before it was read.
    fn received(&self) -> Timestamp {
        let waited = Waiting::current().map(|waiting| waiting.since.elapsed()).unwrap_or_default();
        self.now().saturating_sub(waited).unwrap_or(Timestamp::MIN)
    }
}
