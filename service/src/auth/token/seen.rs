use super::key_set::KeySet;
use crate::auth::Principal;
use jiff::Timestamp;
use lru::LruCache;
use sha2::{Digest, Sha256};
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// The most tokens that are remembered.
const MAX_TOKENS: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// The hash of a token: the token itself is kept nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// Tokens that were verified, so that a signature is verified once and not with each call.
///
/// An entry counts until the token expires, or the issuer's keys are others than those that verified it.
#[derive(Debug)]
pub(super) struct SeenTokens(Mutex<LruCache<TokenHash, Seen>>);

#[derive(Debug)]
struct Seen {
    principal: Principal,
    expires: Timestamp,
    keys: Weak<KeySet>,
}

impl SeenTokens {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::sparse(MAX_TOKENS)))
    }

    /// Whose token it is, if that is known.
    pub(super) fn get(
        &self,
        token: TokenHash,
        keys: &Arc<KeySet>,
        now: Timestamp,
    ) -> Option<Principal> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = tokens.get(&token)?;
        if seen.expires > now && seen.keys.as_ptr() == Arc::as_ptr(keys) {
            return Some(seen.principal.clone());
        }
        tokens.pop(&token);
        None
    }

    /// Remembers whose token it is, by which keys, and when it expires, leeway included.
    pub(super) fn put(
        &self,
        token: TokenHash,
        keys: &Arc<KeySet>,
        expires: Timestamp,
        principal: Principal,
    ) {
        let seen = Seen { principal, expires, keys: Arc::downgrade(keys) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(token, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Roles;
    use jiff::SignedDuration;

    #[test]
    fn the_number_of_tokens_is_limited() {
        let seen = SeenTokens::new();
        let keys = Arc::new(KeySet::read(br#"{"keys": []}"#.to_vec()).unwrap());
        let principal = Principal::service("a", Roles::default()).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let expires = now + SignedDuration::from_secs(1);
        let hashes = (0..=MAX_TOKENS.get()).map(|n| TokenHash::of(&n.to_string()));
        for hash in hashes.clone() {
            seen.put(hash, &keys, expires, principal.clone());
        }
        let known = hashes.filter(|&hash| seen.get(hash, &keys, now).is_some()).count();
        assert_eq!(known, MAX_TOKENS.get());
        assert_eq!(seen.get(TokenHash::of("0"), &keys, now), None);
        assert_eq!(seen.get(TokenHash::of("1"), &keys, expires), None);
        assert_eq!(seen.get(TokenHash::of("1"), &keys, now), None, "it was forgotten");
    }
}
