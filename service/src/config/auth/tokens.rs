use super::{JwksLocation, TokenType};
use crate::auth::Role;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// Which bearer tokens are accepted, and what their claims mean (RFC 7519). The claims are those at the top level.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensConfig {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must contain: one of these.
    pub audience: Audience,
    /// What the header `typ` must be, such as `at+jwt` for access tokens (RFC 9068). Without it, any: then tokens that the issuer
    /// makes for other ends, such as ID tokens, are told apart by `aud` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<TokenType>,
    /// Where the issuer's keys are (RFC 7517): an `https` address, or a file.
    pub jwks: JwksLocation,
    /// A PEM file with the certificates that are trusted for that address, instead of the system's.
    #[serde(default)]
    pub jwks_ca: Option<PathBuf>,
    /// How far the issuer's clock may be off: 0 to 5 minutes, whole seconds. 30 s by default.
    #[serde(default = "default_leeway")]
    pub leeway: SignedDuration,
    /// Whose value is the user id of a token with the role `device` or `inviter`. `sub` by default. A token with the other
    /// roles is a service's, which `sub` names.
    #[serde(default = "default_user_claim")]
    pub user_claim: String,
    /// Whose value is the device id. `device_id` by default. If empty, tokens speak for all devices of their user.
    #[serde(default = "default_device_claim")]
    pub device_claim: String,
    /// Whose values are the roles: an array of strings, or one string with spaces between them. `roles` by default.
    #[serde(default = "default_roles_claim")]
    pub roles_claim: String,
    /// Whose value says whom a token with the role `inviter` may reserve packages of, besides its own user. A token without it
    /// may reserve of nobody else, and neither may a certificate with the role `inviter`. Without this setting, of anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_claim: Option<String>,
    /// How often the keys are read again: 1 s to 24 h. 5 minutes by default; after a failure sooner.
    #[serde(default = "default_refresh_interval")]
    pub refresh_interval: SignedDuration,
    /// How often tokens with unknown keys may cause a read in between: each 1 s to 24 h. 30 s by default.
    #[serde(default = "default_min_refresh_interval")]
    pub min_refresh_interval: SignedDuration,
    /// The role that each value of the claim stands for; other values are ignored. The roles' own names by default.
    #[serde(default = "default_roles")]
    pub roles: BTreeMap<String, Role>,
}

/// Names of this service, as the issuer knows it: one, or several.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One name.
    One(String),
    /// Several names, any of which will do.
    Several(Vec<String>),
}

impl Audience {
    /// The names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

fn default_leeway() -> SignedDuration {
    SignedDuration::from_secs(30)
}

fn default_user_claim() -> String {
    "sub".to_owned()
}

fn default_device_claim() -> String {
    "device_id".to_owned()
}

fn default_roles_claim() -> String {
    "roles".to_owned()
}

fn default_refresh_interval() -> SignedDuration {
    SignedDuration::from_mins(5)
}

fn default_min_refresh_interval() -> SignedDuration {
    SignedDuration::from_secs(30)
}

fn default_roles() -> BTreeMap<String, Role> {
    Role::ALL.into_iter().map(|role| (role.to_string(), role)).collect()
}

impl TokensConfig {
    /// Tokens of an issuer for an audience, the rest by default.
    #[must_use]
    pub fn new(issuer: &str, audience: &str, jwks: JwksLocation) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: Audience::One(audience.to_owned()),
            typ: None,
            jwks,
            jwks_ca: None,
            leeway: default_leeway(),
            user_claim: default_user_claim(),
            device_claim: default_device_claim(),
            roles_claim: default_roles_claim(),
            grant_claim: None,
            refresh_interval: default_refresh_interval(),
            min_refresh_interval: default_min_refresh_interval(),
            roles: default_roles(),
        }
    }
}
