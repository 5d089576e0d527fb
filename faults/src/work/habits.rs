//! What faults ask of the clients.

use crate::history::Package;
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How often, and where, clients make the same call again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// Now and then, wherever the SDK sends it.
    #[default]
    NowAndThen,
    /// On another replica, when the first has not answered for a second.
    Elsewhere,
    /// On all replicas at once.
    Everywhere,
}

/// What faults ask of the clients, shared by both.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    repeats: Mutex<Repeats>,
    used: Mutex<Used>,
}

/// What devices don't offer again.
#[derive(Debug, Default)]
struct Used {
    is_noting: bool,
    packages: HashSet<Package>,
}

impl Habits {
    /// How clients repeat calls from now on.
    pub(crate) fn repeat(&self, repeats: Repeats) {
        *lock(&self.repeats) = repeats;
    }

    /// How clients repeat calls.
    pub(super) fn repeats(&self) -> Repeats {
        *lock(&self.repeats)
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
