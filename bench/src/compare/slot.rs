//! What is measured in a round, one after another.

use std::fmt;

/// How many connections the single statement gets. The best of them counts.
const CONNECTIONS: [u32; 3] = [4, 16, 64];

/// How many connections delete-on-read gets: an ordinary pool's.
const ORDINARY_CONNECTIONS: u32 = 16;

/// Devices in each call of a batch.
pub(super) const BATCH: u32 = 100;

/// Calls in flight, each of which is a batch, or an upload.
pub(super) const BATCHES_IN_FLIGHT: u32 = 16;

/// Something that is measured for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// gRPC alone.
    Echo {
        /// Calls in flight.
        in_flight: u32,
    },
    /// A reserve per prepared statement.
    SingleStatement {
        /// Calls in flight.
        in_flight: u32,
        /// Connections that they share.
        connections: u32,
    },
    /// Delete-on-read.
    DeleteOnRead {
        /// Calls in flight.
        in_flight: u32,
        /// Connections that they share.
        connections: u32,
    },
    /// keypool.
    Keypool {
        /// Calls in flight.
        in_flight: u32,
    },
    /// keypool, a hundred devices a call.
    Batch,
    /// keypool, each reserve spent.
    ReserveThenSpend {
        /// Pairs in flight.
        in_flight: u32,
    },
    /// keypool, uploads of real packages.
    Upload,
    /// Validation of such packages, and nothing else.
    Validation,
    /// keypool, all calls for one device.
    HotUser {
        /// Calls in flight.
        in_flight: u32,
    },
    /// Two replicas on one database.
    TwoReplicas {
        /// Calls in flight, at both together.
        in_flight: u32,
    },
}

/// What is measured at these numbers of calls in flight.
pub(super) fn plan(levels: &[u32], full: bool) -> Vec<Slot> {
    let mut slots = Vec::new();
    for &in_flight in levels {
        slots.push(Slot::Echo { in_flight });
        let mut sizes = CONNECTIONS.map(|connections| connections.min(in_flight)).to_vec();
        sizes.dedup();
        slots.extend(
            sizes.iter().map(|&connections| Slot::SingleStatement { in_flight, connections }),
        );
        let connections = ORDINARY_CONNECTIONS.min(in_flight);
        slots.push(Slot::DeleteOnRead { in_flight, connections });
        slots.push(Slot::Keypool { in_flight });
    }
    slots.push(Slot::Batch);
    if full {
        let in_flight = levels.iter().copied().max().unwrap_or(1);
        slots.extend([
            Slot::ReserveThenSpend { in_flight },
            Slot::HotUser { in_flight },
            Slot::TwoReplicas { in_flight },
            Slot::Validation,
            Slot::Upload,
        ]);
    }
    slots
}

/// The order in a round: forth, and back again in the next.
pub(super) fn order(slots: &[Slot], round: u32) -> Vec<Slot> {
    let mut slots = slots.to_vec();
    if round % 2 == 1 {
        slots.reverse();
    }
    slots
}

impl Slot {
    /// Whether keypool is to hand out packages that nobody has seen, as it mostly does: with such as had been held and not spent, it
    /// would log how each hold before ended.
    pub(super) fn needs_unseen_packages(self) -> bool {
        matches!(
            self,
            Self::Keypool { .. }
                | Self::Batch
                | Self::ReserveThenSpend { .. }
                | Self::TwoReplicas { .. }
        )
    }

    /// Calls in flight.
    pub(super) fn in_flight(self) -> u32 {
        match self {
            Self::Echo { in_flight }
            | Self::SingleStatement { in_flight, .. }
            | Self::DeleteOnRead { in_flight, .. }
            | Self::Keypool { in_flight }
            | Self::ReserveThenSpend { in_flight }
            | Self::HotUser { in_flight }
            | Self::TwoReplicas { in_flight } => in_flight,
            Self::Batch | Self::Upload => BATCHES_IN_FLIGHT,
            Self::Validation => u32::try_from(crate::subject::cores()).unwrap_or(u32::MAX),
        }
    }

    /// Connections to the database that the calls share, where that is chosen here.
    pub(super) fn connections(self) -> Option<u32> {
        match self {
            Self::SingleStatement { connections, .. } | Self::DeleteOnRead { connections, .. } => {
                Some(connections)
            }
            _ => None,
        }
    }

    /// What it is called in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Echo { .. } => "echo",
            Self::SingleStatement { .. } => "single_statement",
            Self::DeleteOnRead { .. } => "delete_on_read",
            Self::Keypool { .. } => "keypool",
            Self::Batch => "batch_100",
            Self::ReserveThenSpend { .. } => "reserve_then_spend",
            Self::Upload => "upload",
            Self::Validation => "validation_alone",
            Self::HotUser { .. } => "hot_user",
            Self::TwoReplicas { .. } => "two_replicas",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} in flight", self.name().replace('_', " "), self.in_flight())?;
        match self.connections() {
            Some(connections) => write!(f, ", {connections} connections"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_connections_than_calls() {
        let slots = plan(&[1, 16, 256], false);
        let connections = |in_flight| -> Vec<u32> {
            slots
                .iter()
                .filter(|slot| slot.name() == "single_statement" && slot.in_flight() == in_flight)
                .filter_map(|slot| slot.connections())
                .collect()
        };
        assert_eq!(connections(1), [1]);
        assert_eq!(connections(16), [4, 16]);
        assert_eq!(connections(256), [4, 16, 64]);
    }

    #[test]
    fn every_other_round_goes_backwards() {
        let slots = plan(&[1], true);
        assert_eq!(order(&slots, 0), slots);
        assert_eq!(order(&slots, 2), slots);
        assert_eq!(order(&slots, 1).first(), slots.last());
    }
}
