//! What was asked for, and what came of it.

use super::{Device, Micros, Package, Reservation, User};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One call of a client, its retries included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Who called.
    pub(crate) client: u32,
    /// Whether it makes no retries: what it is answered is the answer to its only try.
    #[serde(default)]
    pub(crate) one_try: bool,
    /// When.
    pub(crate) invoked: Micros,
    /// When the answer was there, or the client gave up.
    pub(crate) replied: Micros,
    /// What was asked for.
    pub(crate) call: Call,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Call {
    /// Hold packages.
    Reserve(Reserve),
    /// Do something to held packages.
    Hold(Hold),
    /// Add packages to a pool.
    Upload(Upload),
    /// Take these packages of a device out of circulation; all, if none are named.
    Revoke(Device, Option<Vec<Package>>),
    /// Keep these packages of a device, and revoke the others.
    Reconcile(Device, Vec<Package>),
    /// Count a device's packages.
    Status(Device),
}

/// Hold packages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reserve {
    /// Under this id, for its group.
    pub(crate) reservation: Reservation,
    /// Of these.
    pub(crate) targets: Vec<Target>,
    /// Of one of these cipher suites; of any, if there are none.
    pub(crate) suites: Vec<u16>,
    /// For so long.
    pub(crate) ttl: Duration,
    /// Of all targets, or none.
    pub(crate) require_all: bool,
    /// Whether the same call was made before.
    pub(crate) repeat: bool,
}

impl Reserve {
    /// Whether it asks for a device.
    pub(crate) fn covers(&self, device: Device) -> bool {
        self.targets.iter().any(|target| match target {
            Target::User(user) => *user == device.0,
            Target::Device(target) => *target == device,
        })
    }

    /// Whether it accepts a cipher suite.
    pub(crate) fn accepts(&self, suite: u16) -> bool {
        self.suites.is_empty() || self.suites.contains(&suite)
    }
}

/// Whose package is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// One of each device of the user.
    User(User),
    /// One of the device.
    Device(Device),
}

/// Do something to held packages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hold {
    /// What.
    pub(crate) action: Action,
    /// Held by this reservation.
    pub(crate) reservation: Reservation,
    /// These.
    pub(crate) packages: Vec<(Device, Package)>,
}

/// What is done to held packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Use them up.
    Spend,
    /// Give them back.
    Release,
    /// Set them aside as unusable.
    SetAside,
    /// Hold them for so long from now.
    Extend(Duration),
}

/// Add packages to a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Upload {
    /// The pool.
    pub(crate) device: Device,
    /// The packages.
    pub(crate) packages: Vec<Uploaded>,
}

/// An uploaded package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Uploaded {
    /// It.
    pub(crate) package: Package,
    /// Its cipher suite.
    pub(crate) suite: u16,
    /// Whether it is for last resort.
    pub(crate) last_resort: bool,
    /// When its lifetime ends.
    pub(crate) not_after: Micros,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// It succeeded.
    Ok(Answer),
    /// It was refused for this reason: it has done nothing, but what the answer says.
    Failed(String, Answer),
    /// Nobody knows: it may have been done, may still be, or never.
    Unknown(String),
}

impl Outcome {
    /// What the service said, if it said something definite.
    pub(crate) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Ok(answer) | Self::Failed(_, answer) => Some(answer),
            Self::Unknown(_) => None,
        }
    }

    /// Whether nobody knows.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// Whether it succeeded.
    pub(crate) fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(_))
    }
}

/// What the service said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Nothing that matters.
    Nothing,
    /// What a reservation has, and for whom it has nothing and why.
    Reserved(Vec<Handed>, Vec<(User, Option<u32>, String)>),
    /// For each package of a [`Hold`], why nothing was done to it; none if something was.
    Held(Vec<Option<String>>, Option<Micros>),
    /// For each package of an [`Upload`], why it is not in the pool; none if it is.
    Uploaded(Vec<Option<String>>),
    /// What was revoked.
    Revoked(Vec<Package>),
}

/// A package that a reservation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handed {
    /// Whose.
    pub(crate) device: Device,
    /// Which.
    pub(crate) package: Package,
    /// Its cipher suite, as the service says.
    pub(crate) suite: u16,
    /// When its lifetime ends, as the service says.
    pub(crate) not_after: Micros,
    /// When the hold ends, by the clock of the service; none if it is spent.
    pub(crate) until: Option<Micros>,
    /// Whether it is for last resort: others may have it, too.
    pub(crate) last_resort: bool,
    /// Whether this reservation has spent it.
    pub(crate) spent: bool,
    /// Whether its bytes are those of its ref, or gone because it is spent.
    pub(crate) authentic: bool,
}
