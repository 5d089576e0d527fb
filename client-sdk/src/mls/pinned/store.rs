//! Where devices are remembered.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use openmls::prelude::{Credential, SignaturePublicKey};
use serde::{Deserialize, Serialize};
use tls_codec::Serialize as _;

use super::change::UntrustedDevices;
use crate::mls::{BoxError, WrongIdentity};

/// What is remembered about a user. Serializable, for a [`PinStore`] to keep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedUser {
    /// Each known device. Without an identity, no package of it was seen yet.
    pub(super) devices: BTreeMap<String, Option<PinnedIdentity>>,
    /// Whether all devices were asked for, so that any other one is new.
    pub(super) is_listed: bool,
}

impl PinnedUser {
    /// Each known device, ordered by id. Without an identity, no package of it was seen yet.
    pub fn devices(&self) -> impl Iterator<Item = (&str, Option<&PinnedIdentity>)> {
        self.devices.iter().map(|(device_id, identity)| (device_id.as_str(), identity.as_ref()))
    }
}

/// By what a device is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PinnedIdentity {
    /// The TLS-encoded Credential (RFC 9420, section 5.3).
    pub credential: Vec<u8>,
    /// The signature key, as it stands in a leaf node.
    pub signature_key: Vec<u8>,
}

impl PinnedIdentity {
    pub(super) fn of(
        credential: &Credential,
        signature_key: &SignaturePublicKey,
    ) -> Result<Self, WrongIdentity> {
        let credential = credential.tls_serialize_detached();
        let credential = credential.map_err(|error| WrongIdentity(error.to_string()))?;
        Ok(Self { credential, signature_key: signature_key.as_slice().to_vec() })
    }
}

/// Where [`PinnedDevices`](super::PinnedDevices) remembers the devices of each user: ids, credentials and
/// public keys. Whoever can write it can add devices to groups, so keep it where the OpenMLS storage is.
///
/// Calls are short and may block. Several processes may share a store.
pub trait PinStore: Debug + Send + Sync {
    /// What is remembered about a user.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    fn load(&self, user_id: &str) -> Result<Option<PinnedUser>, BoxError>;

    /// Remembers `now` in place of `before`, durably before it returns, unless something else than
    /// `before` is remembered by then: then it changes nothing, and returns false. Of two invites at the
    /// same time, the second is so judged by what the first has remembered.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    fn replace(
        &self,
        user_id: &str,
        before: Option<&PinnedUser>,
        now: &PinnedUser,
    ) -> Result<bool, BoxError>;
}

/// Changes what is remembered about a user, once more if another invite was faster.
pub(super) fn update(
    store: &dyn PinStore,
    user_id: &str,
    change: impl Fn(&mut PinnedUser) -> Result<(), UntrustedDevices>,
) -> Result<(), UntrustedDevices> {
    loop {
        let before = store.load(user_id).map_err(UntrustedDevices::Store)?;
        let mut now = before.clone().unwrap_or_default();
        change(&mut now)?;
        let is_same = before.as_ref() == Some(&now);
        if is_same
            || store.replace(user_id, before.as_ref(), &now).map_err(UntrustedDevices::Store)?
        {
            return Ok(());
        }
    }
}

/// A store that ends with its process: for tests, and for applications that trust each process's first
/// use.
#[derive(Debug, Default)]
pub struct MemoryPinStore(Mutex<HashMap<String, PinnedUser>>);

impl PinStore for MemoryPinStore {
    fn load(&self, user_id: &str) -> Result<Option<PinnedUser>, BoxError> {
        let users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(users.get(user_id).cloned())
    }

    fn replace(
        &self,
        user_id: &str,
        before: Option<&PinnedUser>,
        now: &PinnedUser,
    ) -> Result<bool, BoxError> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.get(user_id) != before {
            return Ok(false);
        }
        users.insert(user_id.to_owned(), now.clone());
        Ok(true)
    }
}
