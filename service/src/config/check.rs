use super::{Config, ConfigError};
use crate::limits::Rate;
use jiff::SignedDuration;

impl Config {
    /// Checks what types can't say.
    ///
    /// # Errors
    /// If values contradict each other or their limits, with all that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.policy()?;
        if let Some(url) = &self.database_url {
            url.parse()?;
        }
        let pool = &self.pool;
        let rates = &self.limits.rates;
        let rates = [rates.holder, rates.holder_and_device, rates.device, rates.upload];
        let rules = [
            (
                self.insecure || self.auth.is_required() || self.listen.ip().is_loopback(),
                "listen: without authentication only loopback addresses are served; pass --insecure to serve any",
            ),
            (self.database_connections > 0, "database_connections: must be at least 1"),
            (pool.low_watermark <= pool.target, "pool.low_watermark: must be at most pool.target"),
            (pool.target <= pool.cap, "pool.target: must be at most pool.cap"),
            (
                pool.min_hold > SignedDuration::ZERO && pool.min_hold <= pool.default_hold,
                "pool.min_hold: must be positive and at most pool.default_hold",
            ),
            (
                pool.default_hold <= pool.max_hold,
                "pool.default_hold: must be at most pool.max_hold",
            ),
            (
                rates.iter().all(Rate::is_valid),
                "limits.rates: burst must be 1 to 1000000, every 1 microsecond to 24 hours",
            ),
            (self.sweep_interval > SignedDuration::ZERO, "sweep_interval: must be positive"),
            (
                [
                    self.drain_timeout,
                    pool.expiring_soon,
                    pool.revocation_grace,
                    pool.keep_expired,
                    pool.spend_log_retention,
                    self.validation.min_remaining,
                ]
                .iter()
                .all(|span| !span.is_negative() && *span <= SignedDuration::from_hours(24 * 3660)),
                "spans must not be negative, and at most ten years",
            ),
            (
                self.validation.max_lifetime > self.validation.min_remaining,
                "validation.max_lifetime: must be longer than validation.min_remaining",
            ),
            (
                [self.lanes.reserve, self.lanes.hold, self.lanes.upload]
                    .iter()
                    .all(|lanes| (1..=64).contains(lanes)),
                "lanes.reserve, lanes.hold, lanes.upload: must be 1 to 64",
            ),
            (
                (1..=10_000).contains(&self.lanes.batch_packages),
                "lanes.batch_packages: must be 1 to 10000",
            ),
            (
                (100..=1_000_000).contains(&self.lanes.queue_packages),
                "lanes.queue_packages: must be 100, which is one call, to 1000000",
            ),
            (
                (1..=64 * 1024).contains(&self.validation.max_bytes),
                "validation.max_bytes: must be 1 to 65536",
            ),
        ];
        let broken: Vec<String> = rules
            .into_iter()
            .chain(self.auth.rules())
            .filter(|(holds, _)| !holds)
            .map(|(_, rule)| rule.to_owned())
            .collect();
        if broken.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(broken)) }
    }
}
