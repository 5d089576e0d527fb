use crate::pool::validation::ValidationPolicy;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// What uploaded packages must satisfy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationConfig {
    /// The most bytes of one package.
    pub max_bytes: usize,
    /// The longest lifetime.
    pub max_lifetime: SignedDuration,
    /// A package with less lifetime left is neither accepted nor handed out.
    pub min_remaining: SignedDuration,
    /// How a basic credential's identity spells user and device.
    pub credential_identity: String,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        let policy = ValidationPolicy::default();
        Self {
            max_bytes: policy.max_bytes,
            max_lifetime: policy.max_lifetime,
            min_remaining: policy.min_remaining,
            credential_identity: policy.identity.to_string(),
        }
    }
}
