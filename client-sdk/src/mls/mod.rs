//! The MLS side, on OpenMLS: verified invites and a pool that keeps itself filled.
//!
//! [`Inviter`] adds members to a group; [`PoolKeeper`] fills a device's pool. Neither trusts the
//! service: what it hands out is [verified](PackageFault), down to whom a credential belongs to,
//! which a [`CredentialVerifier`] of the application decides.

mod identity;
mod inviter;
mod keeper;

pub use identity::{BasicIdentity, CredentialVerifier, WrongIdentity};
pub use inviter::{
    Invite, InviteError, InviteJournal, InviteRecord, InviteStage, Invited, Inviter, MemoryJournal,
    PackageFault, PublishError, Recovered, RejectedPackage,
};
pub use keeper::{PoolKeeper, RefreshError, Refreshed, RejectedUpload};

/// Any other error, as a source.
type BoxError = Box<dyn std::error::Error + Send + Sync>;
