use crate::types::Holder;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts what each principal has under way at the same time. Only those that have something are remembered. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct InFlight {
    most: usize,
    counts: Arc<Mutex<HashMap<Holder, usize>>>,
}

/// One of the things that a principal has under way, until it is dropped.
#[derive(Debug)]
pub struct InFlightPermit {
    principal: Holder,
    of: InFlight,
}

impl InFlight {
    /// At most so many for each principal.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, counts: Arc::default() }
    }

    /// Begins one; none if the principal has as many as it may.
    #[must_use]
    pub fn begin(&self, principal: &Holder) -> Option<InFlightPermit> {
        let mut counts = self.counts();
        let count = counts.entry(principal.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(InFlightPermit { principal: principal.clone(), of: self.clone() })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        // Every change is one assignment: a panic leaves nothing half done.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        let mut counts = self.of.counts();
        if let Some(count) = counts.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_principal_has_its_own_share() {
        let in_flight = InFlight::new(2);
        let [a, b] = ["a", "b"].map(|name| Holder::new(name).unwrap());
        let first = in_flight.begin(&a).unwrap();
        let _second = in_flight.begin(&a).unwrap();
        assert!(in_flight.begin(&a).is_none());
        let _other = in_flight.begin(&b).unwrap();
        drop(first);
        assert!(in_flight.begin(&a).is_some());
    }

    #[test]
    fn who_has_nothing_under_way_is_forgotten() {
        let in_flight = InFlight::new(1);
        drop(in_flight.begin(&Holder::new("a").unwrap()));
        assert!(in_flight.counts().is_empty());
    }
}
