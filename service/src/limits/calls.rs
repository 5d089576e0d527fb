use super::{Buckets, Limit, Limited, REMEMBERED, Rates, take};
use crate::types::{DeviceId, Holder};
use jiff::Timestamp;

/// How many calls each principal may make, and how many of them may be refused. A principal that proves which device of its user it
/// is has refused calls of its own, so that one device can't use up those of the others. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CallLimits {
    principal: Buckets,
    refused: Buckets,
}

impl CallLimits {
    /// Nothing is used yet.
    #[must_use]
    pub fn new(rates: &Rates) -> Self {
        let buckets = |rate| Buckets::new(rate, REMEMBERED);
        Self { principal: buckets(rates.principal), refused: buckets(rates.refused) }
    }

    /// Lets a principal make a call.
    ///
    /// # Errors
    /// If it has made too many, or too many of them were refused.
    pub fn begin(
        &self,
        principal: &Holder,
        device: Option<&DeviceId>,
        now: Timestamp,
    ) -> Result<(), Limited> {
        let limited = |wait| Limited { limit: Limit::Refused, wait };
        let may_be_refused = self.refused.take_of(&(principal, device), 1, 0, now).map_err(limited);
        may_be_refused
            .and_then(|_none| take(&self.principal, Limit::Principal, principal, 1, now))
            .map(super::Tokens::used)
            .inspect_err(|limited| limited.limit.hit())
    }

    /// Charges a principal for a call that was refused.
    pub fn refused(&self, principal: &Holder, device: Option<&DeviceId>, now: Timestamp) {
        // Calls at the same time may be more than were left.
        self.refused.drain(&(principal, device), 1, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Rate;
    use jiff::SignedDuration;

    const SECOND: SignedDuration = SignedDuration::from_secs(1);
    const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn limited(limits: &CallLimits, name: &str, now: Timestamp) -> Option<(Limit, SignedDuration)> {
        let begun = limits.begin(&Holder::new(name).unwrap(), None, now);
        begun.err().map(|limited| (limited.limit, limited.wait))
    }

    #[test]
    fn calls_that_are_refused_use_up_what_others_need() {
        let rates = Rates { refused: Rate::new(2, SECOND), ..Rates::UNLIMITED };
        let limits = CallLimits::new(&rates);
        let a = Holder::new("a").unwrap();
        for _ in 0..2 {
            assert_eq!(limited(&limits, "a", START), None);
            limits.refused(&a, None, START);
        }
        limits.refused(&a, None, START);
        assert_eq!(limited(&limits, "a", START), Some((Limit::Refused, SECOND)));
        assert_eq!(limited(&limits, "b", START), None);
        for _ in 0..10 {
            assert_eq!(
                limited(&limits, "a", START + SECOND),
                None,
                "only refused calls are charged"
            );
        }
    }

    #[test]
    fn calls_of_any_kind_have_a_rate() {
        let rates = Rates { principal: Rate::new(2, SECOND), ..Rates::UNLIMITED };
        let limits = CallLimits::new(&rates);
        for expected in [None, None, Some((Limit::Principal, SECOND))] {
            assert_eq!(limited(&limits, "a", START), expected);
        }
        assert_eq!(limited(&limits, "b", START), None);
    }
}
