//! A verifier that remembers the devices of each user.

mod change;
mod judge;
#[cfg(feature = "sqlite")]
mod sqlite_store;
mod store;

use std::fmt;
use std::sync::Arc;

use openmls::prelude::{Credential, SignaturePublicKey};

use super::identity::ListedDevices;
use super::{CredentialVerifier, WrongIdentity};

pub use change::{Decision, DeviceChange, UntrustedDevices};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite_store::SqlitePinStore;
pub use store::{MemoryPinStore, PinStore, PinnedIdentity, PinnedUser};

/// Decides about a change.
type OnChange = Arc<dyn Fn(&DeviceChange) -> Decision + Send + Sync>;

/// A [`CredentialVerifier`] that remembers the devices of each user, with their credentials and signature
/// keys, as it sees them first, and notices every change: a new device, a device that is gone, another
/// key. So a service that lies is found out, unless it has lied from the beginning.
///
/// Another verifier, such as [`BasicIdentity`](super::BasicIdentity), decides first whether a credential
/// belongs to the device at all; what it refuses is not remembered.
///
/// - **First use** is trusted. The list of devices is remembered when all devices of a user are asked for
///   the first time ([`Target::user`](crate::Target::user)); until then, each device that is asked for by
///   name. The key of a device is remembered with its first package.
/// - **A change** is refused, unless [`on_change`](Self::on_change) accepts it: the invite ends with
///   [`InviteError::Devices`](super::InviteError::Devices), which lists the changes, and nobody is added.
///   Ask the user, call [`accept`](Self::accept) for each change, and invite again.
/// - **Own devices** are like any other user's: a ghost among them would read everything. The inviting
///   device is excluded from the targets, and so never missed.
///
/// ```
/// use std::sync::Arc;
///
/// use keypool_client::BasicIdentity;
/// use keypool_client::mls::{Decision, DeviceChange, MemoryPinStore, PinnedDevices};
///
/// // `SqlitePinStore` remembers across restarts.
/// let store = Arc::new(MemoryPinStore::default());
/// let verifier = PinnedDevices::new(BasicIdentity::default(), store).on_change(|change| {
///     match change {
///         // For an application that tells its users of removed devices, and no more.
///         DeviceChange::Gone { .. } => Decision::Accept,
///         _ => Decision::Refuse,
///     }
/// });
/// ```
#[derive(Clone)]
pub struct PinnedDevices<V> {
    verifier: V,
    store: Arc<dyn PinStore>,
    on_change: OnChange,
}

impl<V> PinnedDevices<V> {
    /// Remembers in this store what `verifier` approves. Clones, and processes, may share a store.
    pub fn new(verifier: V, store: Arc<dyn PinStore>) -> Self {
        Self { verifier, store, on_change: Arc::new(|_| Decision::Refuse) }
    }

    /// Decides about each change. Unless set, all are refused. It is called within the invite, and maybe
    /// more than once for a change, so it should answer at once: to ask the user, refuse, and
    /// [`accept`](Self::accept) later.
    #[must_use]
    pub fn on_change(
        mut self,
        decide: impl Fn(&DeviceChange) -> Decision + Send + Sync + 'static,
    ) -> Self {
        self.on_change = Arc::new(decide);
        self
    }

    /// Remembers the device as it is after the change. A service that then says something else is found
    /// out all the same.
    ///
    /// # Errors
    ///
    /// [`UntrustedDevices::Store`] if the store fails.
    pub fn accept(&self, change: &DeviceChange) -> Result<(), UntrustedDevices> {
        store::update(&*self.store, change.user_id(), |user| {
            change.apply(user);
            Ok(())
        })
    }

    /// Forgets a user: the next list of devices is trusted as the first one was.
    ///
    /// # Errors
    ///
    /// [`UntrustedDevices::Store`] if the store fails.
    pub fn forget(&self, user_id: &str) -> Result<(), UntrustedDevices> {
        store::update(&*self.store, user_id, |user| {
            *user = PinnedUser::default();
            Ok(())
        })
    }
}

impl<V: CredentialVerifier> CredentialVerifier for PinnedDevices<V> {
    /// Also refuses another credential or signature key than the remembered one. Remembers nothing.
    fn verify(
        &self,
        user_id: &str,
        device_id: &str,
        credential: &Credential,
        signature_key: &SignaturePublicKey,
    ) -> Result<(), WrongIdentity> {
        self.verifier.verify(user_id, device_id, credential, signature_key)?;
        let user = self.store.load(user_id).map_err(|error| WrongIdentity(error.to_string()))?;
        let pinned = user.as_ref().and_then(|user| user.devices.get(device_id)?.as_ref());
        let shown = PinnedIdentity::of(credential, signature_key)?;
        match pinned {
            Some(pinned) if *pinned != shown => {
                Err(WrongIdentity("another credential or signature key than before".into()))
            }
            _ => Ok(()),
        }
    }

    fn verify_devices(&self, listed: &ListedDevices<'_>) -> Result<(), UntrustedDevices> {
        self.verifier.verify_devices(listed)?;
        let seen = judge::Seen::new(listed, &self.verifier);
        store::update(&*self.store, listed.user_id, |user| {
            let changes = seen.compare(user);
            let (accepted, refused): (Vec<_>, Vec<_>) = changes
                .into_iter()
                .partition(|change| (self.on_change)(change) == Decision::Accept);
            if !refused.is_empty() {
                return Err(UntrustedDevices::Changed(refused));
            }
            accepted.iter().for_each(|change| change.apply(user));
            seen.remember(user);
            Ok(())
        })
    }
}

impl<V: fmt::Debug> fmt::Debug for PinnedDevices<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedDevices").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}
