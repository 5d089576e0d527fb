//! Which connections there are, and which of them goes when there are too many.
//!
//! A connection on which nobody has proven who calls is the first to go: the oldest of the address that has the most of them.
//! One user or service may have a few, of which its oldest goes.

use crate::{auth::Principal, limits::Payer, telemetry::catalogue, types::Holder};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The most connections of one user or service, and the most that are a quarter of all.
const PER_PRINCIPAL: usize = 64;

/// The connections that there are. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    most: usize,
    per_principal: usize,
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    begun: u64,
    ends: BTreeMap<u64, CancellationToken>,
    /// Those on which nobody has proven who calls.
    unproven: HashMap<Payer, BTreeSet<u64>>,
    /// Those of one user or service.
    proven: HashMap<Holder, BTreeSet<u64>>,
}

impl Registry {
    /// At most so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, per_principal: (most / 4).clamp(1, PER_PRINCIPAL), entries: Arc::default() }
    }

    /// Lets in a connection from an address. None if there are too many, and none that should go.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Place> {
        let mut entries = self.entries();
        if entries.ends.len() >= self.most {
            entries.evict_unproven()?;
            catalogue::ACCEPTED_CONNECTIONS.count(["evicted"]);
        }
        entries.begun += 1;
        let (number, end) = (entries.begun, CancellationToken::new());
        let payer = Payer::from_address(address);
        entries.ends.insert(number, end.clone());
        entries.unproven.entry(payer.clone()).or_default().insert(number);
        catalogue::CONNECTIONS.with([]).increment(1.0);
        let calls = Mutex::new(Calls { under_way: 0, quiet_since: Instant::now() });
        let (proven, owner) = (AtomicBool::new(false), Mutex::new(Owner::Unproven(payer)));
        let inner = Inner { number, end, proven, owner, calls, of: self.clone() };
        Some(Place(Standing(Arc::new(inner))))
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing panics while it is locked.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn evict_unproven(&mut self) -> Option<()> {
        let (_, crowd) = self.unproven.iter().max_by_key(|(_, numbers)| numbers.len())?;
        let oldest = *crowd.first()?;
        self.end(oldest);
        for numbers in self.unproven.values_mut() {
            numbers.remove(&oldest);
        }
        self.unproven.retain(|_, numbers| !numbers.is_empty());
        Some(())
    }

    fn end(&mut self, number: u64) {
        if let Some(end) = self.ends.remove(&number) {
            end.cancel();
        }
    }
}

fn remove<K: std::hash::Hash + Eq>(of: &mut HashMap<K, BTreeSet<u64>>, key: &K, number: u64) {
    if let Some(numbers) = of.get_mut(key) {
        numbers.remove(&number);
        if numbers.is_empty() {
            of.remove(key);
        }
    }
}

/// One of the connections that there may be, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Standing);

impl Place {
    pub(super) fn standing(&self) -> &Standing {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// What is known of a connection: whether somebody has proven who calls, and whether anything is called. Cheap to clone.
#[derive(Clone)]
pub struct Standing(Arc<Inner>);

struct Inner {
    number: u64,
    end: CancellationToken,
    proven: AtomicBool,
    owner: Mutex<Owner>,
    calls: Mutex<Calls>,
    of: Registry,
}

/// Whose a connection is.
enum Owner {
    Unproven(Payer),
    One(Holder),
    /// A back end's. It may have any number.
    Many,
}

struct Calls {
    under_way: usize,
    /// When the last one ended, or the connection began.
    quiet_since: Instant,
}

impl Standing {
    /// Somebody has proven who calls.
    pub(crate) fn prove(&self, principal: &Principal) {
        if self.0.proven.swap(true, Ordering::Relaxed) {
            return;
        }
        let next = match principal.stands_for_many() {
            true => Owner::Many,
            false => Owner::One(principal.name().clone()),
        };
        let mut entries = self.0.of.entries();
        let mut owner = self.owner();
        if let Owner::Unproven(payer) = &*owner {
            remove(&mut entries.unproven, payer, self.0.number);
        }
        if let Owner::One(name) = &next {
            let connections = entries.proven.entry(name.clone()).or_default();
            connections.insert(self.0.number);
            let oldest = connections.first().copied();
            if connections.len() > self.0.of.per_principal
                && let Some(oldest) = oldest
            {
                connections.remove(&oldest);
                entries.end(oldest);
                catalogue::ACCEPTED_CONNECTIONS.count(["evicted"]);
            }
        }
        *owner = next;
    }

    /// A call is under way until the returned is dropped.
    pub(crate) fn begin_call(&self) -> OpenCall {
        self.calls().under_way += 1;
        OpenCall(self.clone())
    }

    /// Whether nobody has proven who calls, and nothing was called for so long.
    pub(super) fn is_idle_stranger(&self, patience: Duration) -> bool {
        let calls = self.calls();
        !self.0.proven.load(Ordering::Relaxed)
            && calls.under_way == 0
            && calls.quiet_since.elapsed() >= patience
    }

    /// Ends when the connection must.
    pub(super) fn ended(&self) -> CancellationToken {
        self.0.end.clone()
    }

    fn leave(&self) {
        let mut entries = self.0.of.entries();
        entries.ends.remove(&self.0.number);
        match &*self.owner() {
            Owner::Unproven(payer) => remove(&mut entries.unproven, payer, self.0.number),
            Owner::One(name) => remove(&mut entries.proven, name, self.0.number),
            Owner::Many => {}
        }
        catalogue::CONNECTIONS.with([]).decrement(1.0);
    }

    fn owner(&self) -> MutexGuard<'_, Owner> {
        self.0.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").field("number", &self.0.number).finish_non_exhaustive()
    }
}

/// A call that is under way on a connection.
#[derive(Debug)]
pub(crate) struct OpenCall(Standing);

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut calls = self.0.calls();
        calls.under_way -= 1;
        calls.quiet_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Role, Roles};
    use std::net::Ipv4Addr;

    fn at(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn principal(name: &str, role: Role) -> Principal {
        Principal::service(name, Roles::from_iter([role])).unwrap()
    }

    fn is_ended(place: &Place) -> bool {
        place.standing().ended().is_cancelled()
    }

    #[test]
    fn strangers_of_the_most_crowded_address_go_first_the_oldest_first() {
        let registry = Registry::new(4);
        let proven = registry.admit(at(1)).unwrap();
        proven.standing().prove(&principal("a", Role::Inviter));
        let crowd = [registry.admit(at(1)).unwrap(), registry.admit(at(1)).unwrap()];
        let other = registry.admit(at(2)).unwrap();
        let _new = registry.admit(at(2)).unwrap();
        assert!(is_ended(&crowd[0]) && !is_ended(&crowd[1]));
        let _new = registry.admit(at(3)).unwrap();
        assert!(is_ended(&other), "now that address has the most");
        assert!(!is_ended(&proven));
    }

    #[test]
    fn nobody_who_has_proven_who_calls_goes_for_a_stranger() {
        let registry = Registry::new(2);
        let known = ["a", "b"].map(|name| {
            let place = registry.admit(at(1)).unwrap();
            place.standing().prove(&principal(name, Role::Inviter));
            place
        });
        assert!(registry.admit(at(2)).is_none());
        let [gone, _stays] = known;
        drop(gone);
        assert!(registry.admit(at(2)).is_some());
    }

    #[test]
    fn one_principal_has_a_quarter_and_a_back_end_any_number() {
        let registry = Registry::new(8);
        let connect = |name, role| {
            let place = registry.admit(at(1)).unwrap();
            place.standing().prove(&principal(name, role));
            place
        };
        let own = [(); 3].map(|()| connect("a", Role::Inviter));
        assert_eq!(own.each_ref().map(is_ended), [true, false, false]);
        let many = [(); 4].map(|()| connect("b", Role::Backend));
        assert!(!many.iter().any(is_ended));
    }

    #[test]
    fn who_left_is_forgotten() {
        let registry = Registry::new(2);
        let (one, other) = (registry.admit(at(1)).unwrap(), registry.admit(at(2)).unwrap());
        one.standing().prove(&principal("a", Role::Inviter));
        drop((one, other));
        let entries = registry.entries();
        assert!(
            entries.ends.is_empty() && entries.unproven.is_empty() && entries.proven.is_empty()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_is_idle_when_it_calls_nothing() {
        let registry = Registry::new(2);
        let patience = Duration::from_secs(10);
        let place = registry.admit(at(1)).unwrap();
        let standing = place.standing();
        let call = standing.begin_call();
        tokio::time::advance(patience).await;
        assert!(!standing.is_idle_stranger(patience));
        drop(call);
        assert!(!standing.is_idle_stranger(patience));
        tokio::time::advance(patience).await;
        assert!(standing.is_idle_stranger(patience));
        standing.prove(&principal("a", Role::Inviter));
        assert!(!standing.is_idle_stranger(patience));
    }
}
