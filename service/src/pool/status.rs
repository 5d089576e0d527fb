use super::{KeyPackagePool, Policy, PoolError};
use crate::{
    store::{PoolRow, StatusRow, UnusableRow},
    types::{DeviceId, KeyPackageRef, UserId},
};
use jiff::Timestamp;

/// The grade of a pool, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// No one-time package is available.
    Empty,
    /// Fewer are available than the low watermark.
    Low,
    /// At least the low watermark.
    Healthy,
}

impl Health {
    /// The grade of a pool with so many available one-time packages.
    #[must_use]
    pub fn of(available: u64, policy: &Policy) -> Self {
        match available {
            0 => Self::Empty,
            _ if available < u64::from(policy.low_watermark) => Self::Low,
            _ => Self::Healthy,
        }
    }
}

/// The pools of one device.
#[derive(Debug, Clone)]
pub struct DeviceStatus {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// The worst grade of its pools.
    pub health: Health,
    /// Its pools, by ascending cipher suite.
    pub pools: Vec<CipherSuiteStatus>,
    /// Its last upload; none if it never uploaded.
    pub last_upload_at: Option<Timestamp>,
    /// What inviters gave back as unusable, newest first.
    pub unusable: Vec<UnusableReport>,
    /// When this was read.
    pub read_at: Timestamp,
}

/// The pool of one cipher suite.
#[derive(Debug, Clone)]
pub struct CipherSuiteStatus {
    /// The counts.
    pub counts: PoolRow,
    /// The grade.
    pub health: Health,
    /// How many packages to upload.
    pub recommended_upload_count: u32,
    /// What to do, in words; empty if nothing.
    pub recommended_action: String,
}

/// A package that an inviter gave back as unusable.
#[derive(Debug, Clone)]
pub struct UnusableReport {
    /// The package.
    pub reference: KeyPackageRef,
    /// The reason's number in the API.
    pub reason: i16,
    /// When the inviter said so.
    pub reported_at: Timestamp,
}

impl KeyPackagePool {
    /// The state of a user's devices, or of one, ordered by device id.
    ///
    /// # Errors
    /// If the user or device is unknown.
    pub async fn status(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
    ) -> Result<Vec<DeviceStatus>, PoolError> {
        let _call = self.admit()?;
        self.read_status(user, device).await
    }

    pub(super) async fn read_status(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
    ) -> Result<Vec<DeviceStatus>, PoolError> {
        let now = self.now();
        let soon = now + self.policy().expiring_soon;
        let rows = self.store().pool_status(user, device, now, soon).await?;
        if rows.is_empty() {
            return Err(self.unknown(user, device).await?);
        }
        let mut devices = group_by_device(user, rows, self.policy(), now);
        let ids: Vec<&DeviceId> = devices.iter().map(|status| &status.device).collect();
        for row in self.store().unusable(user, &ids).await? {
            if let Some(status) = devices.iter_mut().find(|status| status.device == row.device) {
                status.unusable.push(unusable_report(row));
            }
        }
        Ok(devices)
    }

    /// The state of one device, empty if it is unknown.
    pub(super) async fn device_status(
        &self,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<DeviceStatus, PoolError> {
        let read_at = self.now();
        match self.read_status(user, Some(device)).await {
            Ok(devices) => Ok(devices.into_iter().next()),
            Err(PoolError::UnknownUser(_) | PoolError::UnknownDevice(..)) => Ok(None),
            Err(error) => Err(error),
        }
        .map(|status| {
            status.unwrap_or_else(|| DeviceStatus {
                user: user.clone(),
                device: device.clone(),
                health: Health::Empty,
                pools: Vec::new(),
                last_upload_at: None,
                unusable: Vec::new(),
                read_at,
            })
        })
    }

    async fn unknown(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
    ) -> Result<PoolError, PoolError> {
        let Some(device) = device else {
            return Ok(PoolError::UnknownUser(user.clone()));
        };
        let now = self.now();
        let devices = self.store().pool_status(user, None, now, now).await?;
        // The device itself may have uploaded in between: then its user was unknown too.
        Ok(if devices.iter().any(|row| row.device != *device) {
            PoolError::UnknownDevice(user.clone(), device.clone())
        } else {
            PoolError::UnknownUser(user.clone())
        })
    }
}

fn group_by_device(
    user: &UserId,
    rows: Vec<StatusRow>,
    policy: &Policy,
    read_at: Timestamp,
) -> Vec<DeviceStatus> {
    let mut devices: Vec<DeviceStatus> = Vec::new();
    for row in rows {
        if devices.last().is_none_or(|last| last.device != row.device) {
            devices.push(DeviceStatus {
                user: user.clone(),
                device: row.device,
                health: Health::Healthy,
                pools: Vec::new(),
                last_upload_at: Some(row.last_upload_at),
                unusable: Vec::new(),
                read_at,
            });
        }
        if let (Some(status), Some(pool)) = (devices.last_mut(), row.pool) {
            status.pools.push(CipherSuiteStatus::of(pool, policy));
        }
    }
    for status in &mut devices {
        let worst = status.pools.iter().map(|pool| pool.health).min();
        status.health = worst.unwrap_or(Health::Empty);
    }
    devices
}

fn unusable_report(row: UnusableRow) -> UnusableReport {
    UnusableReport { reference: row.reference, reason: row.reason, reported_at: row.reported_at }
}

impl CipherSuiteStatus {
    fn of(counts: PoolRow, policy: &Policy) -> Self {
        let health = Health::of(counts.available, policy);
        Self {
            health,
            recommended_upload_count: recommended_upload_count(&counts, policy),
            recommended_action: recommended_action(&counts, health),
            counts,
        }
    }
}

fn recommended_upload_count(counts: &PoolRow, policy: &Policy) -> u32 {
    let lasting = counts.available.saturating_sub(counts.expiring_soon);
    let wanted = u64::from(policy.target).saturating_sub(lasting);
    let stored = counts.available + counts.reserved + counts.quarantined;
    let cap = u64::from(policy.cap);
    let room = cap.saturating_sub(stored);
    u32::try_from(wanted.min(room)).unwrap_or(policy.cap)
}

fn recommended_action(counts: &PoolRow, health: Health) -> String {
    let reconcile = (counts.quarantined > 0).then_some("Reconcile key package pool");
    let fill = match health {
        Health::Empty => Some("Upload new key packages immediately"),
        Health::Low => Some("Replenish key package pool"),
        Health::Healthy if counts.expiring_soon > 0 => {
            Some("Replace key packages that expire soon")
        }
        Health::Healthy => None,
    };
    let last_resort = match &counts.last_resort {
        None => Some("Upload a last-resort key package"),
        Some(last_resort) if last_resort.uses > 0 => {
            Some("Replace the used last-resort key package")
        }
        Some(_) => None,
    };
    reconcile.into_iter().chain(fill).chain(last_resort).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::LastResortRow, types::CipherSuite};

    fn counts(available: u64) -> PoolRow {
        PoolRow {
            cipher_suite: CipherSuite(1),
            accepted: available,
            available,
            reserved: 0,
            spent: 0,
            expired: 0,
            revoked: 0,
            purged: 0,
            quarantined: 0,
            returned: 0,
            unspent: 0,
            expiring_soon: 0,
            last_resort: Some(LastResortRow {
                reference: KeyPackageRef::new([0; 32]).unwrap(),
                not_after: Timestamp::MAX,
                uploaded_at: Timestamp::UNIX_EPOCH,
                uses: 0,
            }),
        }
    }

    #[test]
    fn health_changes_at_the_watermark() {
        let policy = Policy::default();
        let health = |available| Health::of(available, &policy);
        assert_eq!(
            [health(0), health(1), health(7), health(8), health(32)],
            [Health::Empty, Health::Low, Health::Low, Health::Healthy, Health::Healthy]
        );
    }

    #[test]
    fn the_recommendation_reaches_the_target_and_never_passes_the_cap() {
        let policy = Policy::default();
        let status = |counts| CipherSuiteStatus::of(counts, &policy);
        assert_eq!(status(counts(0)).recommended_upload_count, 32);
        assert_eq!(status(counts(20)).recommended_upload_count, 12);
        assert_eq!(status(counts(40)).recommended_upload_count, 0);
        let expiring = PoolRow { expiring_soon: 30, ..counts(30) };
        assert_eq!(status(expiring).recommended_upload_count, 32);
        let crowded = PoolRow { expiring_soon: 60, ..counts(60) };
        assert_eq!(status(crowded).recommended_upload_count, 4);
    }

    #[test]
    fn the_recommendation_says_what_to_do() {
        let policy = Policy::default();
        let action = |counts| CipherSuiteStatus::of(counts, &policy).recommended_action;
        assert_eq!(action(counts(0)), "Upload new key packages immediately");
        assert_eq!(action(counts(3)), "Replenish key package pool");
        assert_eq!(action(counts(32)), "");
        let fenced = PoolRow { quarantined: 5, ..counts(32) };
        assert_eq!(action(fenced), "Reconcile key package pool");
        let without = PoolRow { last_resort: None, ..counts(0) };
        assert_eq!(
            action(without),
            "Upload new key packages immediately; Upload a last-resort key package"
        );
    }
}
