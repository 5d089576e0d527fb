use super::Rate;
use jiff::{SignedDuration, Timestamp};
use lru::LruCache;
use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Token buckets, one for each key, of which a bounded number is remembered. Cheap to clone.
///
/// A bucket is one number: the time at which it will be full again (the "theoretical arrival time" of the generic cell rate
/// algorithm, ITU-T I.371). A key is remembered by its hash under a secret of the process, so that nobody can choose keys
/// that share a bucket.
#[derive(Clone)]
pub struct Buckets {
    inner: Arc<Inner>,
}

struct Inner {
    rate: Rate,
    hasher: RandomState,
    /// When each bucket is full again.
    full_at: Mutex<LruCache<u64, Timestamp>>,
}

/// Tokens that were taken out of a bucket. Dropped, they go back, unless they were [used](Self::used).
#[must_use = "dropped, it puts the tokens back"]
pub struct Tokens {
    buckets: Buckets,
    key: u64,
    count: usize,
}

impl Tokens {
    /// Keeps the tokens out of their bucket: what they were taken for has happened.
    pub fn used(mut self) {
        self.count = 0;
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        if self.count > 0 {
            self.buckets.refill(self.key, self.count);
        }
    }
}

/// Tokens that a call was let in with. Dropped, they stay used: a caller that leaves has caused as much work as one that stays.
#[must_use = "dropped, it keeps the tokens"]
#[derive(Debug)]
pub struct CallTokens(Option<Tokens>);

impl CallTokens {
    /// Puts the tokens back: the call failed with the service, or its database.
    pub fn put_back(mut self) {
        drop(self.0.take());
    }

    /// Keeps so many tokens, and puts the others back: the call took less than it might have.
    pub fn keep(mut self, used: usize) {
        if let Some(tokens) = &mut self.0 {
            let unused = tokens.count.saturating_sub(used);
            tokens.count = tokens.count.min(used);
            tokens.buckets.refill(tokens.key, unused);
        }
    }
}

impl From<Tokens> for CallTokens {
    fn from(tokens: Tokens) -> Self {
        Self(Some(tokens))
    }
}

impl Drop for CallTokens {
    fn drop(&mut self) {
        if let Some(tokens) = self.0.take() {
            tokens.used();
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Buckets {
    /// Full buckets of a rate. The key that was not used for the longest time is forgotten when there are more than
    /// `capacity`.
    #[must_use]
    pub fn new(rate: Rate, capacity: usize) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        let full_at = Mutex::new(LruCache::new(capacity));
        Self { inner: Arc::new(Inner { rate, hasher: RandomState::new(), full_at }) }
    }

    /// Takes tokens out of a key's bucket, all of them or none. Asking for more than a bucket holds is asking for a full
    /// one.
    ///
    /// # Errors
    /// How long until the bucket has so many.
    pub fn take(
        &self,
        key: &impl Hash,
        tokens: usize,
        now: Timestamp,
    ) -> Result<Tokens, SignedDuration> {
        self.take_of(key, tokens, tokens, now)
    }

    /// Takes tokens out of a key's bucket, or as many as it has.
    pub fn drain(&self, key: &impl Hash, tokens: usize, now: Timestamp) {
        let key = self.inner.hasher.hash_one(key);
        let empty = now + self.fill(self.inner.rate.burst as usize);
        let tokens = tokens.min(self.inner.rate.burst as usize);
        let mut buckets = self.buckets();
        let bucket = buckets.get_or_insert_mut(key, || now);
        *bucket = (now.max(*bucket) + self.fill(tokens)).min(empty);
    }

    /// Takes tokens out of a key's bucket if it has at least `least` of them, more than are taken.
    ///
    /// # Errors
    /// How long until the bucket has so many.
    pub fn take_of(
        &self,
        key: &impl Hash,
        least: usize,
        tokens: usize,
        now: Timestamp,
    ) -> Result<Tokens, SignedDuration> {
        let key = self.inner.hasher.hash_one(key);
        let capacity = self.fill(self.inner.rate.burst as usize);
        let least = least.min(self.inner.rate.burst as usize);
        let count = tokens.min(least);
        let mut buckets = self.buckets();
        let bucket = buckets.get_or_insert_mut(key, || now);
        // One that is full only later than an empty one would be was written before the clock was set back.
        let written_later = *bucket > now + capacity;
        *bucket = if written_later { now } else { now.max(*bucket) };
        let wait = (*bucket + self.fill(least)).duration_since(now + capacity);
        if wait.is_positive() {
            return Err(wait);
        }
        *bucket += self.fill(count);
        drop(buckets);
        Ok(Tokens { buckets: self.clone(), key, count })
    }

    /// Puts tokens into a key's bucket, as many as fit.
    pub fn put_back(&self, key: &impl Hash, tokens: usize) {
        self.refill(self.inner.hasher.hash_one(key), tokens);
    }

    fn refill(&self, key: u64, count: usize) {
        if let Some(full_at) = self.buckets().get_mut(&key) {
            *full_at -= self.fill(count);
        }
    }

    /// How long it takes to fill so many tokens in.
    fn fill(&self, tokens: usize) -> SignedDuration {
        self.inner.rate.every * i32::try_from(tokens).unwrap_or(i32::MAX)
    }

    fn buckets(&self) -> MutexGuard<'_, LruCache<u64, Timestamp>> {
        // Every change is one assignment: a panic leaves nothing half done.
        self.inner.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("rate", &self.inner.rate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: SignedDuration = SignedDuration::from_secs(1);
    const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn buckets(burst: u32) -> Buckets {
        Buckets::new(Rate::new(burst, SECOND), 3)
    }

    #[test]
    fn a_burst_and_then_one_each_span() {
        let buckets = buckets(3);
        for _ in 0..3 {
            buckets.take(&"a", 1, START).unwrap().used();
        }
        assert_eq!(buckets.take(&"a", 1, START).err(), Some(SECOND));
        assert_eq!(buckets.take(&"a", 2, START + SECOND).err(), Some(SECOND));
        buckets.take(&"a", 1, START + SECOND).unwrap().used();
        buckets.take(&"b", 3, START).unwrap().used();
    }

    #[test]
    fn an_idle_bucket_fills_up_and_no_further() {
        let buckets = buckets(3);
        buckets.take(&"a", 3, START).unwrap().used();
        buckets.take(&"a", 3, START + SECOND * 3600).unwrap().used();
        assert_eq!(buckets.take(&"a", 1, START + SECOND * 3600).err(), Some(SECOND));
    }

    #[test]
    fn what_was_not_used_comes_back() {
        let buckets = buckets(3);
        buckets.take(&"a", 1, START).unwrap().used();
        drop(buckets.take(&"a", 2, START).unwrap());
        buckets.take(&"a", 2, START).unwrap().used();
        assert_eq!(buckets.take(&"a", 1, START).err(), Some(SECOND));
        // Asked for more than a bucket holds, and put back: no more than was taken.
        let idle = START + SECOND * 60;
        drop(buckets.take(&"a", 100, idle).unwrap());
        buckets.take(&"a", 3, idle).unwrap().used();
        assert_eq!(buckets.take(&"a", 1, idle).err(), Some(SECOND));
    }

    #[test]
    fn more_than_a_bucket_holds_needs_a_full_one() {
        let buckets = buckets(3);
        buckets.take(&"a", 100, START).unwrap().used();
        assert_eq!(buckets.take(&"a", 100, START + SECOND).err(), Some(SECOND * 2));
    }

    #[test]
    fn a_bucket_may_have_to_hold_more_than_is_taken() {
        let buckets = buckets(3);
        buckets.take_of(&"a", 3, 1, START).unwrap().used();
        assert_eq!(buckets.take_of(&"a", 3, 0, START).err(), Some(SECOND));
        buckets.take_of(&"a", 2, 2, START).unwrap().used();
        assert_eq!(buckets.take_of(&"a", 1, 0, START).err(), Some(SECOND));
        buckets.take_of(&"a", 100, 1, START + SECOND * 3).unwrap().used();
    }

    #[test]
    fn a_bucket_is_drained_and_owes_nothing() {
        let buckets = buckets(3);
        buckets.drain(&"a", 1, START);
        assert_eq!(buckets.take(&"a", 3, START).err(), Some(SECOND));
        for _ in 0..2 {
            buckets.drain(&"a", 100, START);
            assert_eq!(buckets.take(&"a", 1, START).err(), Some(SECOND));
        }
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out() {
        let buckets = buckets(3);
        buckets.take(&"a", 3, START + SECOND * 3600).unwrap().used();
        buckets.take(&"a", 3, START).unwrap().used();
        assert_eq!(buckets.take(&"a", 1, START).err(), Some(SECOND));
    }

    #[test]
    fn without_a_limit_the_clock_is_no_matter() {
        let buckets = Buckets::new(Rate::UNLIMITED, 3);
        for now in [START + SECOND, START, START + SECOND / 2] {
            buckets.take(&"a", 1, now).unwrap().used();
        }
        buckets.take(&"a", 1_000_000, START).unwrap().used();
    }

    #[test]
    fn memory_is_bounded() {
        let buckets = buckets(1);
        for key in 0..1000 {
            buckets.take(&key, 1, START).unwrap().used();
        }
        assert_eq!(buckets.buckets().len(), 3);
        assert!(buckets.take(&999, 1, START).is_err());
        buckets.take(&0, 1, START).unwrap().used();
    }
}
