use super::{Entry, Model, Package, State};
use crate::store::Purged;

impl Model {
    /// Forgets what nobody needs any more.
    pub fn sweep(&mut self) -> Purged {
        let purged = Purged {
            emptied: self.empty(),
            key_packages: self.purge_packages(),
            spend_log_entries: self.purge_log(),
        };
        self.log_lapses();
        purged
    }

    /// Drops the bytes of packages that were spent or superseded a while ago.
    fn empty(&mut self) -> u64 {
        let before = self.now - self.policy.keep_spent;
        let expired_before = self.now - self.policy.keep_expired;
        let mut emptied = 0;
        for package in self.packages.values_mut() {
            let mut entries =
                self.log.iter().filter(|entry| entry.reference == package.facts.reference);
            let is_over = match package.state {
                State::Spent => entries.any(|entry| entry.spent_at.is_some_and(|at| at < before)),
                _ => {
                    package.superseded_at.is_some_and(|at| at < before)
                        && entries.all(|entry| entry.is_done_with(before))
                }
            };
            if is_over && !package.emptied && package.facts.not_after >= expired_before {
                package.emptied = true;
                emptied += 1;
            }
        }
        emptied
    }

    fn log_lapses(&mut self) {
        let now = self.now;
        let holds = self.packages.values().filter_map(|one| Some((one.facts, one.hold()?.clone())));
        let lapsed: Vec<_> = holds.filter(|(_, hold)| hold.until <= now).collect();
        for (facts, hold) in lapsed {
            self.log_lapse(&hold, facts);
        }
    }

    /// A spent package stays in the log, and is booked as purged when it leaves that.
    fn purge_packages(&mut self) -> u64 {
        let expired_before = self.now - self.policy.keep_expired;
        let before = self.packages.len();
        // What was seen is on record, even if no sweep has noted it before.
        let is_old = |one: &&Package| one.facts.not_after < expired_before;
        let holds = self.packages.values().filter(is_old);
        let holds: Vec<_> =
            holds.filter_map(|one| Some((one.facts, one.hold()?.clone()))).collect();
        for (facts, hold) in holds {
            let is_new = !self
                .log
                .iter()
                .any(|entry| entry.is_of(&hold.reservation, &hold.holder, &facts.reference));
            self.log_lapse(&hold, facts);
            if is_new {
                self.log_hold(&hold, facts, None).logged_at = hold.until;
            }
        }
        let old = self.packages.values().filter(|one| one.facts.not_after < expired_before);
        for one in old.filter(|one| !one.facts.last_resort && !matches!(one.state, State::Spent)) {
            let pool = (one.facts.owner.clone(), one.facts.suite);
            self.books.get_mut(&pool).unwrap().purged += 1;
        }
        self.packages.retain(|_, one| one.facts.not_after >= expired_before);
        (before - self.packages.len()) as u64
    }

    fn purge_log(&mut self) -> u64 {
        let logged_before = self.now - self.policy.spend_log_retention;
        let before = self.log.len();
        let is_spent = |one: &&Entry| !one.last_resort && one.spent_at.is_some();
        let is_old = |one: &&Entry| {
            one.logged_at < logged_before && one.spent_at.is_none_or(|at| at < logged_before)
        };
        for old in self.log.iter().filter(is_spent).filter(is_old) {
            self.books.get_mut(&(old.owner.clone(), old.suite)).unwrap().purged += 1;
        }
        self.log.retain(|one| !is_old(&one));
        (before - self.log.len()) as u64
    }
}
