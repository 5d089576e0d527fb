use crate::{
    lane::LaneError,
    store::StoreError,
    types::{DeviceId, ReservationId, UserId},
};
use jiff::SignedDuration;

/// Why the pool refused a call.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Nothing at all was reserved, or not all of what had to be. Never empty.
    #[error("nothing was reserved")]
    NothingReserved(Vec<MissingTarget>),
    /// The reservation id is in use for another group.
    #[error("the reservation id is in use for another group")]
    ReservationIdReused(ReservationId),
    /// The reservation belongs to another holder.
    #[error("the reservation belongs to another holder")]
    NotTheHolder(ReservationId),
    /// Some packages of a reservation could not be spent, released or extended: one element for each package of the
    /// call, in its order, of which at least one is a fault.
    #[error("the call failed for some packages")]
    Packages(ReservationId, Vec<PackageFault>),
    /// No device of the user ever uploaded.
    #[error("unknown user")]
    UnknownUser(UserId),
    /// This device of the user never uploaded.
    #[error("unknown device")]
    UnknownDevice(UserId, DeviceId),
    /// A fault of this service.
    #[error("internal fault")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too many calls are waiting.
    #[error("too many calls are waiting")]
    Overloaded,
    /// As many pools are watched as may be.
    #[error("too many pools are watched")]
    TooManyWatches,
    /// The caller asks too often, or has too much under way: nothing was done.
    #[error("a limit was hit")]
    RateLimited {
        /// When to try again.
        retry_after: SignedDuration,
    },
    /// The service stops.
    #[error("the service stops")]
    ShuttingDown,
    /// The database failed.
    #[error("the database failed")]
    Store(#[from] StoreError),
}

impl From<LaneError> for PoolError {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Full => Self::Overloaded,
            LaneError::Closed => Self::ShuttingDown,
            LaneError::Store(error) => Self::Store(error),
        }
    }
}

/// A user or device for which nothing was reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingTarget {
    /// The user.
    pub user: UserId,
    /// The device; none if it is about the whole user.
    pub device: Option<DeviceId>,
    /// Why.
    pub reason: MissingReason,
}

/// Why nothing was reserved for a user or device, the weightiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MissingReason {
    /// None of the device's packages is left.
    PoolExhausted,
    /// What the device has is of other cipher suites, or expires too soon for this call.
    NoCompatiblePackage,
    /// The holder has too many live holds on the device.
    RateLimited,
    /// The device never uploaded.
    UnknownDevice,
    /// No device of the user ever uploaded.
    UnknownUser,
}

/// What became of one package of a call; no fault means that it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFault {
    /// The package.
    pub name: super::PackageName,
    /// The fault.
    pub fault: Option<HoldFault>,
}

/// Why a reservation could not spend, release or extend a package, the weightiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldFault {
    /// Another reservation spent it.
    AlreadySpent,
    /// The hold lapsed, and another reservation holds the package since.
    Lost,
    /// The reservation belongs to another holder.
    NotTheHolder,
    /// The reservation was made for another group.
    OtherGroup,
    /// The package's lifetime has ended.
    Expired,
    /// The package is revoked, and no grace is left.
    Revoked,
    /// The reservation does not hold the package.
    NotFound,
}
