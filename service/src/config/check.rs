use super::{Config, ConfigError};
use crate::limits::Rate;

impl Config {
    /// Checks what types can't say.
    ///
    /// # Errors
    /// If values contradict each other or their limits, with all that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.policy()?;
        let database_tls = self.database_tls()?;
        let pool = &self.pool;
        let rates = &self.limits.rates;
        let rates = [
            rates.holder,
            rates.holder_and_device,
            rates.own_devices,
            rates.fair_share,
            rates.device,
            rates.reports,
            rates.unknown,
            rates.hold_changes,
            rates.upload,
            rates.validation,
            rates.principal,
            rates.refused,
        ];
        let limits = &self.limits;
        let rules = [
            (
                self.insecure || self.auth.is_required() || self.listen.ip().is_loopback(),
                "listen: without authentication only loopback addresses are served; pass --insecure to serve any",
            ),
            (
                self.insecure
                    || self.plain_text
                    || self.tls.is_some()
                    || self.listen.ip().is_loopback(),
                "listen: plain text is served on loopback addresses only; configure [tls], or pass --plain-text if something in front encrypts",
            ),
            (
                self.tls
                    .as_ref()
                    .is_none_or(|tls| tls.client_certificates.is_none() || tls.client_ca.is_some()),
                "tls.client_certificates: needs tls.client_ca, to verify them with",
            ),
            (
                database_tls.certificate.is_some() == database_tls.key.is_some(),
                "database_tls.certificate, database_tls.key: one needs the other, here or as sslcert and sslkey in the URL",
            ),
            (
                self.database_password_file.is_none() || self.database_url.is_some(),
                "database_password_file: needs database_url",
            ),
            (
                (1..=1_000_000).contains(&limits.connections),
                "limits.connections: must be 1 to 1000000",
            ),
            (
                (2..=1_000_000).contains(&limits.streams_per_connection),
                "limits.streams_per_connection: must be 2 to 1000000, of which half may be watches",
            ),
            (
                (1024..=1024 * 1024).contains(&limits.header_bytes),
                "limits.header_bytes: must be 1024 to 1048576",
            ),
            (
                (64 * 1024..=64 * 1024 * 1024).contains(&limits.message_bytes),
                "limits.message_bytes: must be 65536 to 67108864",
            ),
            (
                limits.memory_bytes >= 24 * limits.message_bytes.max(1024 * 1024),
                "limits.memory_bytes: must be at least 25165824, and 24 times limits.message_bytes, so that one caller can send the largest message",
            ),
            (
                self.telemetry.otlp_endpoint.as_ref().is_none_or(|endpoint| {
                    endpoint.starts_with("http://") || endpoint.starts_with("https://")
                }),
                "telemetry.otlp_endpoint: must be like http://collector:4317",
            ),
            (
                (0.0..=1.0).contains(&self.telemetry.trace_sample_ratio),
                "telemetry.trace_sample_ratio: must be 0 to 1",
            ),
            (self.database_connections > 0, "database_connections: must be at least 1"),
            (
                pool.low_watermark == 0 || pool.low_watermark < pool.target.min(pool.cap),
                "pool.low_watermark: must be 0, or less than pool.target and pool.cap, since a holder gets the last packages of a pool only as its first; lower it, or raise the others",
            ),
            (pool.target <= pool.cap, "pool.target: must be at most pool.cap"),
            ((1..=10_000).contains(&pool.max_devices), "pool.max_devices: must be 1 to 10000"),
            (
                (self.validation.max_bytes as u64..=1 << 40).contains(&pool.max_bytes_per_user),
                "pool.max_bytes_per_user: must be at least validation.max_bytes, so that there is room for one package, and at most 1099511627776",
            ),
            (
                rates.iter().all(Rate::is_valid),
                "limits.rates: burst must be 1 to 1000000, every 1 microsecond to 24 hours or, for no limit, 0s",
            ),
            (
                limits.calls_per_principal > 0 && limits.watches_per_principal > 0,
                "limits.calls_per_principal, limits.watches_per_principal: must be at least 1",
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
            .chain(self.span_faults())
            .collect();
        if broken.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(broken)) }
    }
}
