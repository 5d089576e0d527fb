use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// How much is allowed: so much at once and, when that is used up, one more each time a span has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How much at once.
    pub burst: u32,
    /// How long it takes until one more is allowed; no time at all means no limit.
    pub every: SignedDuration,
}

impl Rate {
    /// A rate.
    #[must_use]
    pub const fn new(burst: u32, every: SignedDuration) -> Self {
        Self { burst, every }
    }

    /// No limit: what is used takes no time to come back.
    pub const UNLIMITED: Self = Self::new(1, SignedDuration::ZERO);

    /// Whether it allows something, and its span is none, or one that can be counted: at least a microsecond, at most a day.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (1..=1_000_000).contains(&self.burst)
            && (self.every.is_zero()
                || (SignedDuration::from_micros(1)..=SignedDuration::from_hours(24))
                    .contains(&self.every))
    }
}
