//! What faults ask of the clients.

use crate::history::Package;
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How clients work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Habit {
    /// They make all kinds of calls, wherever the SDK sends them, and repeat some now and then.
    #[default]
    Usual,
    /// They make no calls.
    Rest,
    /// Besides what they usually do, they make calls on all replicas at once.
    Everywhere,
    /// Besides what they usually do, they repeat calls on another replica when the first has not answered for a second.
    Elsewhere,
    /// Besides what they usually do, devices take what they have out of circulation, on the replica of this number.
    StartOver(usize),
    /// A few of them do only that, and all begin at the replica of this number; the others rest, so that the other replicas are
    /// not busy when the repeats come.
    FewElsewhere(usize),
}

/// What faults ask of the clients, shared by both.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    habit: Mutex<Habit>,
    used: Mutex<Used>,
}

/// What devices don't offer again.
#[derive(Debug, Default)]
struct Used {
    is_noting: bool,
    packages: HashSet<Package>,
}

impl Habits {
    /// How clients work from now on.
    pub(crate) fn set(&self, habit: Habit) {
        *lock(&self.habit) = habit;
    }

    /// How clients work now.
    pub(super) fn now(&self) -> Habit {
        *lock(&self.habit)
    }

    /// Devices remember for good what is used up from now on: the database may forget it. A device deletes the private key
    /// of a package that it has joined a group by, so it neither uploads nor lists that package again.
    pub(crate) fn note_used(&self, is_noting: bool) {
        lock(&self.used).is_noting = is_noting;
    }

    /// These packages are about to be spent or revoked.
    pub(super) fn use_up(&self, packages: impl IntoIterator<Item = Package>) {
        let mut used = lock(&self.used);
        if used.is_noting {
            used.packages.extend(packages);
        }
    }

    /// Whether a device can still use a package, as far as it remembers.
    pub(super) fn is_usable(&self, package: Package) -> bool {
        !lock(&self.used).packages.contains(&package)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
