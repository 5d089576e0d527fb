//! Faults, as a history remembers them.

use super::Micros;
use serde::{Deserialize, Serialize};

/// A kind of fault.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// `kill -9` of a replica, which is started again
    KillService,
    /// SIGSTOP of a replica, for longer than holds last
    FreezeService,
    /// SIGTERM of a replica, which is started again
    RestartService,
    /// SIGTERM of one replica after the other: nothing may fail that the SDK does not hide
    Rolling,
    /// The schema of a next version beside serving replicas, then one replica after the other: nothing may fail that the SDK
    /// does not hide
    Upgrade,
    /// `kill -9` of PostgreSQL's main process, or of one of its others
    KillDatabase,
    /// SIGSTOP of all of PostgreSQL
    FreezeDatabase,
    /// Connections of clients break, and new ones are refused for a while
    Cut,
    /// Connections to the database break, and new ones are refused for a while
    CutDatabase,
    /// What clients and service send each other comes late
    Delay,
    /// What service and database send each other comes late
    DelayDatabase,
    /// The service's replies are lost, then the connections break
    LoseReplies,
    /// The database's replies are lost, then the connections break
    LoseDatabaseReplies,
    /// Connections of clients take everything and pass on nothing
    BlackHole,
    /// Connections to the database take everything and pass on nothing
    BlackHoleDatabase,
    /// A replica's clock jumps, forth or back
    Clock,
    /// PostgreSQL has no connection left, and those of the service are ended
    Connections,
    /// PostgreSQL can't write: its disk is full
    FullDisk,
    /// PostgreSQL gives up statements: cancelled, locked too long, or in a deadlock
    Statements,
    /// A table is locked, and statements wait
    Locked,
    /// Rows of some devices are locked, for longer than the service waits for a lock
    LockedRows,
    /// Clocks of replicas are off, by less than is tolerated: nothing may break by it
    Skew,
    /// Commits hang, and clients repeat their calls on other replicas
    HungCommit,
    /// Clients make each call on all replicas at once, word for word
    Repeats,
    /// The database is dumped and, later, dropped and restored in the same cluster
    Restored,
    /// The database or its role gets settings that promises could break by, and PostgreSQL may be killed
    Settings,
}

impl Kind {
    /// Whether nothing may fail meanwhile that the SDK does not hide.
    pub(crate) fn is_invisible(self) -> bool {
        matches!(self, Self::Rolling | Self::Upgrade | Self::RestartService)
    }

    /// Whether it takes answers from callers who don't repeat their calls, so that a run without an unknown outcome shows
    /// nothing.
    pub(crate) fn interrupts(self) -> bool {
        let may_go_unseen = matches!(
            self,
            Self::Clock
                | Self::Delay
                | Self::DelayDatabase
                | Self::Skew
                | Self::Repeats
                | Self::Settings
        );
        !self.is_invisible() && !may_go_unseen
    }

    /// Whether it moves clocks, which those of a binary can't be.
    pub(crate) fn moves_clocks(self) -> bool {
        matches!(self, Self::Clock | Self::Skew)
    }

    /// Whether it touches neither processes nor connections nor the database, so that calls have as many tries as in peace.
    pub(crate) fn leaves_calls_alone(self) -> bool {
        matches!(self, Self::Skew | Self::Repeats)
    }

    /// Whether what a client has sent may reach the service after the client has given up, and before the service can know.
    pub(crate) fn holds_requests_back(self) -> bool {
        matches!(self, Self::Delay)
    }

    /// Whether what the service has answered may reach the client late.
    pub(crate) fn holds_answers_back(self) -> bool {
        matches!(self, Self::Delay | Self::BlackHole | Self::FreezeService)
    }

    /// Whether a replica may run a statement anew while the first run of it is still under way, unknown to it. So one try of a
    /// call may have an effect after it was answered.
    pub(crate) fn leaves_statements(self) -> bool {
        matches!(
            self,
            Self::FreezeService
                | Self::KillDatabase
                | Self::FreezeDatabase
                | Self::CutDatabase
                | Self::DelayDatabase
                | Self::LoseDatabaseReplies
                | Self::BlackHoleDatabase
                | Self::Connections
                | Self::LockedRows
                | Self::HungCommit
                | Self::Restored
                | Self::Settings
        )
    }

    /// As it is written on the command line.
    pub(crate) fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self)
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// Its kind.
    pub(crate) kind: Kind,
    /// What was done, to whom.
    pub(crate) what: String,
    /// When it began.
    pub(crate) from: Micros,
    /// When it was healed.
    pub(crate) to: Micros,
    /// When the database was put back to what it was when the fault began, if it was.
    #[serde(default)]
    pub(crate) went_back: Option<Micros>,
    /// Whether it could not be injected or healed: it may have gone only so far.
    #[serde(default)]
    pub(crate) failed: bool,
}
