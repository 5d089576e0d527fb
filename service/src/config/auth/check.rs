use super::{AuthConfig, JwksLocation, TokensConfig};
use crate::auth::Role;
use jiff::SignedDuration;

/// The most leeway for the issuer's clock.
const MAX_LEEWAY: SignedDuration = SignedDuration::from_mins(5);

impl AuthConfig {
    /// What must hold and types can't say, with what to say where it doesn't.
    pub(in crate::config) fn rules(&self) -> Vec<(bool, &'static str)> {
        let mut rules = vec![
            (
                self.certificates.iter().all(|certificate| !certificate.roles.is_empty()),
                "auth.certificates.roles: every certificate needs at least one role",
            ),
            (
                self.certificates
                    .iter()
                    .all(|certificate| !certificate.roles.contains(&Role::Device)),
                "auth.certificates.roles: a certificate is a service's, which can't be a device; use a token",
            ),
        ];
        if let Some(tokens) = &self.tokens {
            rules.extend(token_rules(tokens));
        }
        rules
    }
}

fn token_rules(tokens: &TokensConfig) -> [(bool, &'static str); 9] {
    let sensible = SignedDuration::from_secs(1)..=SignedDuration::from_hours(24);
    let audience = tokens.audience.names();
    [
        (!tokens.issuer.is_empty(), "auth.tokens.issuer: must not be empty"),
        (
            !audience.is_empty() && audience.iter().all(|name| !name.is_empty()),
            "auth.tokens.audience: must be a name, or a list of names, none of them empty",
        ),
        (
            tokens.jwks_ca.is_none() || matches!(tokens.jwks, JwksLocation::Https(_)),
            "auth.tokens.jwks_ca: is for an https address, and auth.tokens.jwks is a file; remove it",
        ),
        (
            !tokens.leeway.is_negative() && tokens.leeway <= MAX_LEEWAY,
            "auth.tokens.leeway: must be 0s to 5m",
        ),
        (
            !tokens.user_claim.is_empty() && !tokens.roles_claim.is_empty(),
            "auth.tokens.user_claim, auth.tokens.roles_claim: must not be empty",
        ),
        (
            tokens.grant_claim.as_ref().is_none_or(|claim| !claim.is_empty()),
            "auth.tokens.grant_claim: must not be empty; leave it out to let inviters reserve packages of anybody",
        ),
        (
            sensible.contains(&tokens.refresh_interval),
            "auth.tokens.refresh_interval: must be 1s to 24h",
        ),
        (
            sensible.contains(&tokens.min_refresh_interval),
            "auth.tokens.min_refresh_interval: must be 1s to 24h",
        ),
        (
            !tokens.roles.is_empty(),
            "auth.tokens.roles: must name at least one role; without this table, the values are the roles' names",
        ),
    ]
}
