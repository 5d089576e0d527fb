//! Commits that wait for a synchronous standby.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// For how long a commit waits before it hangs. A standby that is only slow takes less.
pub(super) const COMMIT_LIMIT: Duration = Duration::from_secs(5);

/// The commits that wait, by names that no two share, and when each was first seen to. PostgreSQL does not say since when.
#[derive(Debug, Default)]
pub(super) struct WaitingCommits(HashMap<String, Instant>);

impl WaitingCommits {
    /// Notes which commits wait now, and returns whether one of them hangs.
    pub(super) fn note(&mut self, waiting: Vec<String>, now: Instant) -> bool {
        let before = std::mem::take(&mut self.0);
        let since = |name: String| {
            let since = before.get(&name).copied().unwrap_or(now);
            (name, since)
        };
        self.0 = waiting.into_iter().map(since).collect();
        self.0.values().any(|since| now.duration_since(*since) >= COMMIT_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_hangs_that_was_seen_to_wait_for_long() {
        let (mut commits, start) = (WaitingCommits::default(), Instant::now());
        let mut note = |names: &[&str], seconds| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            commits.note(names, start + Duration::from_secs(seconds))
        };
        assert!(!note(&["a"], 0));
        assert!(!note(&["a", "b"], 4));
        assert!(note(&["a", "b"], 5));
        assert!(!note(&["b"], 6), "a has ended");
        assert!(!note(&[], 8));
        assert!(!note(&["b"], 20), "another wait of it");
    }
}
