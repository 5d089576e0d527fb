//! Who held which package when.

use super::{Micros, Violation};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Packages are spread over so many locks.
const SHARDS: usize = 64;

/// How many holds of a package are remembered. Answers arrive out of order, but not by more than this.
const REMEMBERED: usize = 2;

/// A hold: from its start to before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    /// Whose it is.
    pub(super) reservation: u64,
    /// When it began.
    pub(super) start: Micros,
    /// When it ends.
    pub(super) end: Micros,
}

impl Hold {
    /// Whether both lasted at the same time, in different reservations.
    fn collides(&self, other: &Self) -> bool {
        self.reservation != other.reservation && self.start < other.end && other.start < self.end
    }
}

/// What is remembered of one package.
#[derive(Debug, Default)]
struct History {
    /// The latest holds.
    holds: [Option<Hold>; REMEMBERED],
    /// The hold that spent it.
    spent: Option<Hold>,
}

impl History {
    /// Notes a hold.
    fn held(&mut self, hold: Hold) -> Option<Violation> {
        let came_back =
            |spent: Hold| spent.reservation != hold.reservation && hold.end > spent.start;
        let violation = if self.spent.is_some_and(came_back) {
            Some(Violation::SpentCameBack)
        } else if self.holds.iter().flatten().any(|other| other.collides(&hold)) {
            Some(Violation::HandedOutTwice)
        } else {
            None
        };
        self.remember(hold);
        violation
    }

    /// Notes a spend.
    fn spent(&mut self, reservation: u64) -> Option<Violation> {
        let hold = self.holds.into_iter().flatten().filter(|hold| hold.reservation == reservation);
        // What was spent was held, and its hold is among the latest ones, else another took the package since.
        let Some(hold) = hold.max_by_key(|hold| hold.end) else {
            return Some(Violation::HandedOutTwice);
        };
        let taken_since =
            |other: &Hold| other.reservation != reservation && other.start >= hold.end;
        let violation = match self.spent {
            Some(first) if first.reservation != reservation => Some(Violation::SpentCameBack),
            _ if self.holds.iter().flatten().any(taken_since) => Some(Violation::HandedOutTwice),
            _ => None,
        };
        self.spent.get_or_insert(hold);
        violation
    }

    /// Keeps the latest holds.
    fn remember(&mut self, hold: Hold) {
        if self.holds.contains(&Some(hold)) {
            return; // the answer to a repeated call
        }
        let oldest = self.holds.iter_mut().min_by_key(|kept| kept.map(|kept| kept.end));
        if let Some(oldest) = oldest.filter(|kept| kept.is_none_or(|kept| kept.end < hold.end)) {
            *oldest = Some(hold);
        }
    }
}

/// What is remembered of all packages.
#[derive(Debug)]
pub(super) struct Histories(Vec<Mutex<HashMap<[u8; 16], History>>>);

impl Default for Histories {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl Histories {
    /// Notes a hold.
    pub(super) fn held(&self, package_ref: &[u8], hold: Hold) -> Option<Violation> {
        self.with(package_ref, |history| history.held(hold))
    }

    /// Notes a spend.
    pub(super) fn spent(&self, package_ref: &[u8], reservation: u64) -> Option<Violation> {
        self.with(package_ref, |history| history.spent(reservation))
    }

    /// Refs are hashes, so that their first bytes tell them apart.
    fn with<T>(&self, package_ref: &[u8], change: impl FnOnce(&mut History) -> T) -> T {
        let mut key = [0; 16];
        let known = package_ref.len().min(key.len());
        key[..known].copy_from_slice(&package_ref[..known]);
        let shard = &self.0[usize::from(key[0]) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        change(shard.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: i64 = 100;

    fn hold(reservation: u64, start: i64) -> Hold {
        Hold { reservation, start: Micros(start), end: Micros(start + TTL) }
    }

    /// Feeds holds of one package, and returns the last one's violation.
    fn last_of(holds: &[Hold]) -> Option<Violation> {
        let histories = Histories::default();
        holds.iter().fold(None, |_, hold| histories.held(b"package", *hold))
    }

    #[test]
    fn holds_one_after_another_are_fine() {
        assert_eq!(last_of(&[hold(1, 0), hold(2, 100), hold(3, 200)]), None);
        assert_eq!(last_of(&[hold(2, 100), hold(1, 0)]), None);
        assert_eq!(last_of(&[hold(3, 200), hold(2, 100), hold(1, 0)]), None);
    }

    #[test]
    fn overlapping_holds_are_found_in_any_order() {
        let twice = Some(Violation::HandedOutTwice);
        assert_eq!(last_of(&[hold(1, 0), hold(2, 99)]), twice);
        assert_eq!(last_of(&[hold(2, 99), hold(1, 0)]), twice);
        assert_eq!(last_of(&[hold(3, 200), hold(1, 0), hold(2, 99)]), twice);
        assert_eq!(last_of(&[hold(1, 0), hold(2, 0)]), twice);
    }

    #[test]
    fn a_reservation_may_get_its_own_package_again() {
        assert_eq!(last_of(&[hold(1, 0), hold(1, 0), hold(1, 50), hold(1, 300)]), None);
    }

    #[test]
    fn packages_are_told_apart() {
        let histories = Histories::default();
        assert_eq!(histories.held(b"one", hold(1, 0)), None);
        assert_eq!(histories.held(b"other", hold(2, 0)), None);
    }

    #[test]
    fn spent_packages_must_not_come_back() {
        let histories = Histories::default();
        let back = Some(Violation::SpentCameBack);
        assert_eq!(histories.held(b"package", hold(1, 0)), None);
        assert_eq!(histories.spent(b"package", 1), None);
        assert_eq!(histories.spent(b"package", 1), None, "a repeated spend");
        assert_eq!(histories.held(b"package", hold(2, 1000)), back);
        assert_eq!(histories.spent(b"package", 2), back);
    }

    #[test]
    fn a_hold_that_ended_before_may_be_heard_of_after_the_spend() {
        let histories = Histories::default();
        histories.held(b"package", hold(2, 100));
        histories.spent(b"package", 2);
        assert_eq!(histories.held(b"package", hold(1, 0)), None);
    }

    #[test]
    fn a_late_spend_must_fail_once_another_holds_the_package() {
        let histories = Histories::default();
        histories.held(b"package", hold(1, 0));
        assert_eq!(histories.spent(b"package", 1), None, "late, but nobody else took it");
        histories.held(b"other", hold(1, 0));
        histories.held(b"other", hold(2, 100));
        assert_eq!(histories.spent(b"other", 1), Some(Violation::HandedOutTwice));
    }

    #[test]
    fn what_was_never_held_can_not_be_spent() {
        assert!(Histories::default().spent(b"package", 1).is_some());
    }
}
