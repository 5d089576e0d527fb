//! The MLS side, on OpenMLS: verified invites and a pool that keeps itself filled.
//!
//! [`Inviter`] adds members to a group; [`PoolKeeper`] fills a device's pool, and records it in a
//! [`PoolStore`]. Neither trusts the service: what it hands out is [verified](PackageFault), down to
//! whom a credential belongs to, which a [`CredentialVerifier`] of the application decides:
//! [`PinnedDevices`], which remembers the devices of each user, or one of your own.

mod identity;
mod inviter;
mod keeper;
mod pinned;
#[cfg(feature = "sqlite")]
mod private_file;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;

pub use identity::{
    AmbiguousIdentity, Asked, BasicIdentity, CredentialVerifier, InvalidTemplate, ListedDevice,
    ListedDevices, WrongIdentity,
};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use inviter::SqliteInviteJournal;
pub use inviter::{
    Invite, InviteError, InviteJournal, InviteRecord, InviteStage, Invited, Inviter, MemoryJournal,
    PackageFault, PublishError, Recovered, RejectedPackage,
};
pub use keeper::{
    ClockOffset, KeeperHandle, KeeperProblem, KeeperStatus, PoolKeeper, PoolKeeperBuilder,
    RefreshError, Refreshed, RejectedUpload, Rejections,
};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use pinned::SqlitePinStore;
pub use pinned::{
    Decision, DeviceChange, MemoryPinStore, PinStore, PinnedDevices, PinnedIdentity, PinnedUser,
    UntrustedDevices,
};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite::SqliteError;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use store::SqlitePoolStore;
pub use store::{MemoryPoolStore, PackageState, PoolRecord, PoolStore, UnknownPackageState};

/// Any other error, as a source.
type BoxError = Box<dyn std::error::Error + Send + Sync>;
