//! Requests: random users, fresh ids.

use crate::{check::Micros, database::fill};
use keypool_proto::v1::{ReserveKeyPackagesRequest, Target};
use keypool_service::clock::{Clock, SystemClock};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use uuid::Uuid;

/// The cipher suite of all packages.
pub(crate) const CIPHER_SUITE: u32 = 1;

/// Users that packages are reserved of.
#[derive(Debug, Clone)]
pub(crate) struct Users {
    /// How their names begin.
    pub(crate) prefix: &'static str,
    /// How many there are.
    pub(crate) count: u32,
    /// The next user, where they take turns: where packages are used up, all pools shrink alike.
    pub(crate) turn: Option<Arc<AtomicU32>>,
}

/// A prime: steps of this length through fewer users meet each of them, far from the one before.
const STRIDE: u64 = 2_654_435_761;

impl Users {
    /// Whose turn it is.
    fn at(&self, turn: u32) -> u32 {
        let index = u64::from(turn) * STRIDE % u64::from(self.count.max(1));
        u32::try_from(index).unwrap_or_default() + 1
    }
}

/// Makes the requests of one caller.
#[derive(Debug)]
pub(crate) struct Requests {
    users: Users,
    targets: u32,
    ttl: Duration,
    random: SmallRng,
}

impl Requests {
    /// Requests for so many users each.
    pub(crate) fn new(users: Users, targets: u32, ttl: Duration, seed: u64) -> Self {
        let targets = targets.min(users.count);
        Self { users, targets, ttl, random: SmallRng::seed_from_u64(seed) }
    }

    /// How long each reserve holds.
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A request to reserve, and when it was made.
    pub(crate) fn reserve(&mut self) -> (ReserveKeyPackagesRequest, Micros) {
        let (reservation_id, made_at) = self.reservation_id();
        let request = ReserveKeyPackagesRequest {
            reservation_id,
            group_id: self.group_id().to_vec(),
            targets: self.users().into_iter().map(target).collect(),
            cipher_suites: vec![CIPHER_SUITE],
            ttl: prost_types::Duration::try_from(self.ttl).ok(),
            ..ReserveKeyPackagesRequest::default()
        };
        (request, made_at)
    }

    /// A fresh id, a UUID of version 7, and the time in it.
    pub(crate) fn reservation_id(&mut self) -> (String, Micros) {
        let now = SystemClock.now();
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &self.random.random());
        (Uuid::to_string(uuid.as_uuid()), now.into())
    }

    /// A random group.
    pub(crate) fn group_id(&mut self) -> [u8; 16] {
        self.random.random()
    }

    /// A user.
    pub(crate) fn user(&mut self) -> String {
        let number = match &self.users.turn {
            Some(turn) => self.users.at(turn.fetch_add(1, Ordering::Relaxed)),
            None => self.random.random_range(1..=self.users.count),
        };
        fill::user(self.users.prefix, number)
    }

    /// Whether something is to be done that is done once in so many times.
    pub(crate) fn one_in(&mut self, times: u32) -> bool {
        self.random.random_ratio(1, times)
    }

    /// The users of one request, no two of them the same.
    fn users(&mut self) -> Vec<String> {
        if self.targets == 1 {
            return vec![self.user()];
        }
        let (count, wanted) = (self.users.count as usize, self.targets as usize);
        let chosen = rand::seq::index::sample(&mut self.random, count, wanted);
        let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        chosen.into_iter().map(|index| fill::user(self.users.prefix, number(index))).collect()
    }
}

/// The device of a user.
fn target(user_id: String) -> Target {
    Target { user_id, device_id: fill::DEVICE.to_owned(), excluded_device_ids: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn users(count: u32) -> Users {
        Users { prefix: "user-", count, turn: None }
    }

    #[test]
    fn a_batch_names_every_user_once() {
        let mut requests = Requests::new(users(120), 100, Duration::from_secs(1), 7);
        let (request, _) = requests.reserve();
        let names: HashSet<_> = request.targets.iter().map(|target| &target.user_id).collect();
        assert_eq!(names.len(), 100);
        assert!(names.iter().all(|name| name.starts_with("user-000")));
    }

    #[test]
    fn the_seed_decides_who_is_asked_for() {
        let first = |seed| Requests::new(users(1_000_000), 1, Duration::ZERO, seed).user();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn users_that_take_turns_are_all_asked_for() {
        let users = Users { turn: Some(Arc::default()), ..users(1000) };
        let mut requests = Requests::new(users, 1, Duration::ZERO, 1);
        let names: HashSet<_> = (0..1000).map(|_| requests.user()).collect();
        assert_eq!(names.len(), 1000);
    }

    #[test]
    fn ids_are_fresh() {
        let mut requests = Requests::new(users(1), 1, Duration::ZERO, 1);
        assert_ne!(requests.reservation_id().0, requests.reservation_id().0);
        assert_ne!(requests.group_id(), requests.group_id());
    }
}
