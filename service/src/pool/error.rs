use crate::{
    lane::LaneError,
    limits::Limited,
    store::StoreError,
    types::{DeviceId, ReservationId, UserId},
};

/// Why the pool refused a call.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Nothing at all was reserved, or not all of what had to be. Never empty.
    #[error("nothing was reserved")]
    NothingReserved(Vec<MissingTarget>),
    /// The reservation id is in use for another group.
    #[error("the reservation id is in use for another group")]
    ReservationIdReused(ReservationId),
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
    /// The device is new, and its user has as many devices as it may.
    #[error("too many devices")]
    TooManyDevices(UserId),
    /// A fault of this service.
    #[error("internal fault")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too many calls are waiting: nothing was done.
    #[error("too many calls are waiting")]
    Overloaded,
    /// As many pools are watched as may be.
    #[error("too many pools are watched")]
    TooManyWatches,
    /// The caller asks too often, or has too much under way: nothing was done.
    #[error("a limit was hit")]
    RateLimited(Limited),
    /// The service stops: nothing was done.
    #[error("the service stops")]
    ShuttingDown,
    /// The database failed.
    #[error("the database failed")]
    Store(#[source] StoreError),
    /// A part of the call was done, or may have been, before the service had to give up.
    #[error("only a part of the call was done")]
    Unfinished,
}

impl PoolError {
    /// The error of a call of which something was done before: it does not say any more that nothing was.
    pub(super) fn after_effects(self) -> Self {
        match self {
            Self::Overloaded | Self::RateLimited(_) | Self::TooManyWatches | Self::ShuttingDown => {
                Self::Unfinished
            }
            other => other,
        }
    }

    /// Whether the call was judged, as opposed to one that failed with the service or its database, or found everything locked.
    pub(super) fn is_verdict(&self) -> bool {
        match self {
            Self::NothingReserved(missing) => {
                missing.iter().any(|target| target.reason != MissingReason::Contended)
            }
            Self::ReservationIdReused(_)
            | Self::Packages(..)
            | Self::UnknownUser(_)
            | Self::UnknownDevice(..)
            | Self::TooManyDevices(_) => true,
            Self::Internal(_)
            | Self::Overloaded
            | Self::RateLimited(_)
            | Self::TooManyWatches
            | Self::ShuttingDown
            | Self::Store(_)
            | Self::Unfinished => false,
        }
    }
}

impl From<StoreError> for PoolError {
    fn from(error: StoreError) -> Self {
        match error {
            // No connection was free: the statement was not sent.
            StoreError::Busy => Self::Overloaded,
            error => Self::Store(error),
        }
    }
}

impl From<LaneError> for PoolError {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Full => Self::Overloaded,
            LaneError::Closed => Self::ShuttingDown,
            LaneError::Store(error) => error.into(),
            LaneError::Unfinished => Self::Unfinished,
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
    /// The limit that was hit, if one was.
    pub limited: Option<Limited>,
}

/// Why nothing was reserved for a user or device, the weightiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MissingReason {
    /// None of the device's packages is left.
    PoolExhausted,
    /// What the device has is of other cipher suites, or expires too soon for this call.
    NoCompatiblePackage,
    /// A limit of the holder's was hit.
    RateLimited,
    /// The device has packages, but other calls had them locked all the time.
    Contended,
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
    /// The hold lapsed, and another reservation has held the package since.
    Lost,
    /// The reservation was made for another group.
    OtherGroup,
    /// The package's lifetime has ended.
    Expired,
    /// The package is revoked, and no grace is left.
    Revoked,
    /// The hold has lapsed, and can't be prolonged: it was as long as a hold may be in all.
    HeldTooLong,
    /// The reservation does not hold the package, or another holder's does.
    NotFound,
    /// The reservation holds the package, but another call had it locked all the time: nothing was done to it.
    Contended,
}
