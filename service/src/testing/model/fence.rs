use super::{Facts, Hold, Model, Package, State};
use jiff::Timestamp;

impl Model {
    /// Quarantines every one-time package that there is.
    pub fn raise_fence(&mut self) {
        for package in self.packages.values_mut() {
            package.kept_back = !package.facts.last_resort;
        }
    }

    /// Ends every quarantine.
    pub fn lift_fences(&mut self) {
        for package in self.packages.values_mut() {
            package.kept_back = false;
        }
    }
}

impl Package {
    /// In the pool and valid, and free but for a fence.
    pub(super) fn quarantined(&self, now: Timestamp) -> bool {
        self.kept_back && self.stands(now) && !self.held(now)
    }

    /// Whether what is known of its hold may be old: since it lapsed, others may have had the package.
    pub(super) fn has_doubtful_hold(&self, now: Timestamp) -> bool {
        let lapsed = self.hold().is_some_and(|hold| hold.until <= now);
        self.kept_back && lapsed && matches!(self.state, State::Pooled(_))
    }

    /// Forgets such a hold, and returns it.
    pub(super) fn forget_doubtful_hold(
        &mut self,
        now: Timestamp,
    ) -> Option<(&'static Facts, Hold)> {
        let hold = self.hold().filter(|_| self.has_doubtful_hold(now))?.clone();
        self.seen_by = Some(hold.holder.clone());
        self.forget_hold();
        Some((self.facts, hold))
    }

    /// Its device has said that it has the private keys.
    pub(super) fn vouch(&mut self, now: Timestamp) -> Option<(&'static Facts, Hold)> {
        let forgotten = self.forget_doubtful_hold(now);
        self.kept_back = false;
        forgotten
    }
}
