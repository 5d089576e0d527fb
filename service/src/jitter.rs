//! Random spans, so that those who were told the same at the same time don't all come back at once.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// A random part of a span.
pub(crate) fn part_of(span: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let nanos = (u128::from(random) * span.as_nanos()) >> u64::BITS;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_differ_and_are_within_the_span() {
        let span = Duration::from_secs(4);
        let mut parts: Vec<_> = (0..100).map(|_| part_of(span)).collect();
        parts.sort();
        assert!(parts[99] < span);
        assert!(parts[0] < span / 2 && parts[99] > span / 2, "{parts:?}");
        assert_eq!(part_of(Duration::ZERO), Duration::ZERO);
    }
}
