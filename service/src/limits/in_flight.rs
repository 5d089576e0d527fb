use crate::{auth::Principal, types::Holder};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts what each principal has under way at the same time, but for those that stand for many. Only those that have
/// something are remembered. Cheap to clone.
#[derive(Debug, Clone)]
pub struct InFlight {
    most: usize,
    counts: Arc<Mutex<HashMap<Holder, usize>>>,
}

/// One of the things that a principal has under way, until it is dropped.
#[derive(Debug)]
pub struct InFlightPermit(Option<(Holder, InFlight)>);

/// The principal has as much under way as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl InFlight {
    /// At most so many for each principal.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, counts: Arc::default() }
    }

    /// Begins one.
    ///
    /// # Errors
    /// If the principal has as many as it may.
    pub fn begin(&self, principal: &Principal) -> Result<InFlightPermit, TooMany> {
        if principal.stands_for_many() {
            return Ok(InFlightPermit(None));
        }
        let name = principal.name();
        let mut counts = self.counts();
        let count = counts.entry(name.clone()).or_default();
        if *count >= self.most {
            return Err(TooMany);
        }
        *count += 1;
        Ok(InFlightPermit(Some((name.clone(), self.clone()))))
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        // Every change is one assignment: a panic leaves nothing half done.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        let Some((name, of)) = &self.0 else { return };
        let mut counts = of.counts();
        if let Some(count) = counts.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                counts.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Role, Roles};

    fn service(name: &str, role: Role) -> Principal {
        Principal::service(name, Roles::from_iter([role])).unwrap()
    }

    #[test]
    fn each_principal_has_its_own_share() {
        let in_flight = InFlight::new(2);
        let [a, b] = ["a", "b"].map(|name| service(name, Role::Inviter));
        let first = in_flight.begin(&a).unwrap();
        let _second = in_flight.begin(&a).unwrap();
        assert_eq!(in_flight.begin(&a).err(), Some(TooMany));
        let _other = in_flight.begin(&b).unwrap();
        drop(first);
        assert!(in_flight.begin(&a).is_ok());
    }

    #[test]
    fn who_has_nothing_under_way_is_forgotten() {
        let in_flight = InFlight::new(1);
        let permit = in_flight.begin(&service("a", Role::Inviter));
        assert_eq!(in_flight.counts().len(), 1);
        drop(permit);
        assert!(in_flight.counts().is_empty());
    }

    #[test]
    fn a_back_end_stands_for_many() {
        let in_flight = InFlight::new(1);
        let back_end = service("a", Role::Backend);
        let _permits = [(); 3].map(|()| in_flight.begin(&back_end).unwrap());
    }
}
