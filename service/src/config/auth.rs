mod certificates;
mod check;
mod jwks_location;
mod token_type;
mod tokens;

pub use certificates::{CertificateConfig, CertificatePattern};
pub use jwks_location::JwksLocation;
pub use token_type::TokenType;
pub use tokens::{Audience, TokensConfig};

use serde::{Deserialize, Serialize};

/// How callers prove who they are. Without tokens and certificates, none has to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Which bearer tokens are accepted (RFC 7519).
    pub tokens: Option<TokensConfig>,
    /// Which client certificates are services. The first entry that matches one of a certificate's names counts.
    pub certificates: Vec<CertificateConfig>,
}

impl AuthConfig {
    /// Whether callers have to prove who they are.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.tokens.is_some() || !self.certificates.is_empty()
    }
}

#[cfg(test)]
mod tests;
