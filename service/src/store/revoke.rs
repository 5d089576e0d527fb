use super::{DeviceKey, Store, StoreError, get, id};
use crate::types::{Bucket, DeviceId, KeyPackageRef, UserId};
use jiff::Timestamp;
use tokio_postgres::types::ToSql;

const REVOKE: &str = include_str!("sql/revoke.sql");
const VOUCH: &str = include_str!("sql/vouch.sql");
const RECONCILE: &str = include_str!("sql/reconcile.sql");

/// Which packages to revoke: those that match everything that is set.
#[derive(Debug, Clone, Default)]
pub struct RevokeSelector {
    /// One of these.
    pub refs: Option<Vec<KeyPackageRef>>,
    /// None of these.
    pub except: Option<Vec<KeyPackageRef>>,
    /// With this TLS-encoded credential.
    pub credential: Option<Vec<u8>>,
    /// With this signature key.
    pub signature_key: Option<Vec<u8>>,
    /// Uploaded no later than this.
    pub as_of: Option<Timestamp>,
}

/// Why a package that a device has can't be handed out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnavailableState {
    /// It isn't stored.
    Unknown,
    /// It is spent.
    Spent,
    /// Its lifetime has ended.
    Expired,
    /// It is revoked.
    Revoked,
    /// A newer last-resort package has taken its place.
    Superseded,
    /// An invite under way holds it.
    Reserved,
    /// It was handed out and not spent: nobody else gets it.
    Returned,
}

/// A package that a device has and that can't be handed out now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// The package.
    pub reference: KeyPackageRef,
    /// Why.
    pub state: UnavailableState,
}

impl Store {
    /// Takes unspent packages of a user, or of one device, out of circulation, and returns their refs.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe.
    pub async fn revoke(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
        selector: &RevokeSelector,
        now: Timestamp,
    ) -> Result<Vec<KeyPackageRef>, StoreError> {
        let bytes = |refs: &Option<Vec<KeyPackageRef>>| -> Option<Vec<Vec<u8>>> {
            Some(refs.as_ref()?.iter().map(|one| one.as_bytes().to_vec()).collect())
        };
        let rows = self
            .rows(
                REVOKE,
                &[
                    /* bucket */ &Bucket::of(user).number(),
                    /* user_id */ &user.as_str(),
                    /* device_id */ &device.map(DeviceId::as_str),
                    /* now */ &now,
                    /* refs */ &bytes(&selector.refs),
                    /* except */ &bytes(&selector.except),
                    /* credential */ &selector.credential,
                    /* signature_key */ &selector.signature_key,
                    /* as_of */ &selector.as_of,
                ],
            )
            .await?;
        rows.iter()
            .map(|row| id(KeyPackageRef::new(get::<&[u8]>(row, "key_package_ref")?)))
            .collect()
    }

    /// Lets quarantined packages be handed out again, of which the device says that it has the private keys.
    ///
    /// # Errors
    /// If the database fails. Running it again is safe.
    pub async fn vouch(
        &self,
        device: &DeviceKey,
        refs: &[KeyPackageRef],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let refs: Vec<_> = refs.iter().map(KeyPackageRef::as_bytes).collect();
        let params: [&(dyn ToSql + Sync); 5] = [
            /* bucket */ &device.bucket.number(),
            /* user_id */ &device.user.as_str(),
            /* device_id */ &device.device.as_str(),
            /* refs */ &refs,
            /* now */ &now,
        ];
        self.rows(VOUCH, &params).await.map(drop)
    }

    /// Says which of a device's refs can't be handed out now, and why.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn unavailable(
        &self,
        device: &DeviceKey,
        refs: &[KeyPackageRef],
        now: Timestamp,
    ) -> Result<Vec<Reconciled>, StoreError> {
        let rows = self
            .rows(
                RECONCILE,
                &[
                    /* bucket */ &device.bucket.number(),
                    /* user_id */ &device.user.as_str(),
                    /* device_id */ &device.device.as_str(),
                    /* refs */ &refs.iter().map(KeyPackageRef::as_bytes).collect::<Vec<_>>(),
                    /* now */ &now,
                ],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Reconciled {
                    reference: id(KeyPackageRef::new(get::<&[u8]>(row, "key_package_ref")?))?,
                    state: match get::<&str>(row, "state")? {
                        "unknown" => UnavailableState::Unknown,
                        "spent" => UnavailableState::Spent,
                        "expired" => UnavailableState::Expired,
                        "revoked" => UnavailableState::Revoked,
                        "superseded" => UnavailableState::Superseded,
                        "reserved" => UnavailableState::Reserved,
                        "returned" => UnavailableState::Returned,
                        other => {
                            return Err(StoreError::internal(format!("unknown state {other}")));
                        }
                    },
                })
            })
            .collect()
    }
}
