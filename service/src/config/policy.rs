use super::{Config, ConfigError};
use crate::{
    limits::MaxHolds,
    pool::{
        Policy,
        validation::{IdentityTemplate, ValidationPolicy},
    },
};

impl Config {
    /// The rules of the pools.
    ///
    /// # Errors
    /// If the template for credentials can't be read.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        let identity: IdentityTemplate =
            self.validation.credential_identity.parse().map_err(|error| {
                ConfigError::Invalid(vec![format!("validation.credential_identity: {error}")])
            })?;
        Ok(Policy {
            target: self.pool.target,
            low_watermark: self.pool.low_watermark,
            cap: self.pool.cap,
            max_bytes_per_user: self.pool.max_bytes_per_user,
            max_devices: self.pool.max_devices,
            hide_unknown: self.pool.hide_unknown,
            default_hold: self.pool.default_hold,
            min_hold: self.pool.min_hold,
            max_hold: self.pool.max_hold,
            max_total_hold: self.pool.max_total_hold,
            returned_packages: self.pool.returned_packages,
            expiring_soon: self.pool.expiring_soon,
            revocation_grace: self.pool.revocation_grace,
            keep_spent: self.pool.keep_spent,
            keep_expired: self.pool.keep_expired,
            spend_log_retention: self.pool.spend_log_retention,
            max_holds: MaxHolds {
                of_others: self.limits.holds_per_holder_and_device,
                of_own_devices: self.limits.holds_of_own_devices,
            },
            max_calls_in_flight: self.limits.calls_in_flight,
            max_watches: self.limits.watches,
            synchronous_standbys: self.synchronous_standbys,
            rates: self.limits.rates.clone(),
            lanes: self.lanes.clone(),
            validation: ValidationPolicy {
                max_bytes: self.validation.max_bytes,
                max_lifetime: self.validation.max_lifetime,
                min_remaining: self.validation.min_remaining,
                identity,
            },
        })
    }
}
