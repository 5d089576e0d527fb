//! Broken promises.

use std::fmt;

/// What a broken promise costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Harm {
    /// A package serves two.
    Doubled,
    /// Something that was acknowledged is gone.
    Lost,
    /// An answer is wrong in another way.
    Wrong,
}

/// A way to break a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Broken {
    /// Two reservations held one package at the same time.
    HeldTwice,
    /// Two reservations have spent one package.
    SpentTwice,
    /// A spent package was handed out.
    SpentCameBack,
    /// A reservation has spent a package that another was handed since.
    SpentThoughLost,
    /// A spent package was accepted again.
    SpentAccepted,
    /// A revoked package was handed out.
    RevokedCameBack,
    /// A package was revoked by nobody, or by a call that was given up before the package was made.
    RevokedUnasked,
    /// A hold had ended when it was answered.
    ToldTooLate,
    /// A package was handed out or spent after its lifetime.
    Stale,
    /// A package of another cipher suite, another device or nobody was handed out, or other bytes than its ref's.
    NotAskedFor,
    /// A reservation has two packages of one device in one answer.
    TwoOfOneDevice,
    /// A repeated reserve returned something else.
    RepeatDiffers,
    /// A reservation could not spend or extend what it held, or not spend again what it had spent.
    HoldLost,
    /// A pool was called exhausted that had packages.
    FalselyExhausted,
    /// An acknowledged upload is gone.
    UploadLost,
    /// An acknowledged spend is not in the spend log.
    SpendLost,
    /// The spend log has an entry that nobody asked for.
    NobodySpent,
    /// A hand-out of a last-resort package is not in the spend log.
    LastResortNotLogged,
    /// A package is in no place, or in several.
    Misplaced,
    /// A pool's books don't balance.
    Unbalanced,
    /// The database has what nobody asked for.
    Foreign,
    /// The service raised a fence, although the database had forgotten nothing.
    FalseAlarm,
    /// The database had gone back, and the service raised no fence.
    NoFence,
    /// The service broke its own rules, or the contract.
    Internal,
    /// A call failed that was not to.
    VisibleFailure,
    /// A call, or a replica that was to begin or end, took for ever.
    Hang,
    /// A replica ended by itself, or not well.
    Died,
}

impl Broken {
    /// What it costs.
    pub(crate) fn harm(self) -> Harm {
        match self {
            Self::HeldTwice
            | Self::SpentTwice
            | Self::SpentCameBack
            | Self::SpentThoughLost
            | Self::SpentAccepted
            | Self::RevokedCameBack
            | Self::NoFence => Harm::Doubled,
            Self::UploadLost
            | Self::RevokedUnasked
            | Self::SpendLost
            | Self::LastResortNotLogged
            | Self::RepeatDiffers
            | Self::HoldLost
            | Self::Misplaced
            | Self::Unbalanced => Harm::Lost,
            Self::Stale
            | Self::ToldTooLate
            | Self::NotAskedFor
            | Self::TwoOfOneDevice
            | Self::FalselyExhausted
            | Self::NobodySpent
            | Self::Foreign
            | Self::FalseAlarm
            | Self::Internal
            | Self::VisibleFailure
            | Self::Hang
            | Self::Died => Harm::Wrong,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeldTwice => "two reservations held one package at the same time",
            Self::SpentTwice => "two reservations have spent one package",
            Self::SpentCameBack => "a spent package was handed out",
            Self::SpentThoughLost => "a package was spent that another was handed since",
            Self::SpentAccepted => "a spent or revoked package was accepted again",
            Self::RevokedCameBack => "a revoked package was handed out",
            Self::RevokedUnasked => "a package was revoked that nobody asked to revoke",
            Self::ToldTooLate => "a hold had ended when it was answered",
            Self::Stale => "a package was handed out or spent after its lifetime",
            Self::NotAskedFor => "a package was handed out that was not asked for",
            Self::TwoOfOneDevice => "a reservation got two packages of one device",
            Self::RepeatDiffers => "a repeated reserve returned something else",
            Self::HoldLost => "a reservation was refused what it had",
            Self::FalselyExhausted => "a pool was called exhausted that had packages",
            Self::UploadLost => "an acknowledged upload is gone",
            Self::SpendLost => "an acknowledged spend is not in the spend log",
            Self::NobodySpent => "the spend log has what nobody spent",
            Self::LastResortNotLogged => {
                "the hand-out of a last-resort package is not in the spend log"
            }
            Self::Misplaced => "a package is in no place, or in several",
            Self::Unbalanced => "the books of a pool don't balance",
            Self::Foreign => "the database has what nobody asked for",
            Self::FalseAlarm => "a fence was raised although nothing was forgotten",
            Self::NoFence => "the database had gone back and no fence was raised",
            Self::Internal => "the service broke its own rules",
            Self::VisibleFailure => "a call failed that was not to",
            Self::Hang => "something took for ever",
            Self::Died => "a replica ended by itself, or not well",
        })
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which one.
    pub(crate) broken: Broken,
    /// By what.
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.broken, self.what)
    }
}
