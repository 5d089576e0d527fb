use super::TokenError;
use crate::{
    auth::{InviteGrant, Principal, Role, Roles},
    config::TokensConfig,
    types::{DeviceId, UserId},
};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// What a token says, once its signature was verified.
pub(super) type Claims = Map<String, Value>;

/// Checks the claims of RFC 7519 at a time, and returns when the token expires, leeway included.
pub(super) fn check(
    claims: &Claims,
    config: &TokensConfig,
    now: Timestamp,
) -> Result<Timestamp, TokenError> {
    if claims.get("iss").and_then(Value::as_str) != Some(&config.issuer) {
        return Err(TokenError::WrongIssuer);
    }
    let audience = texts(claims.get("aud"));
    if !config.audience.names().iter().any(|name| audience.contains(&name.as_str())) {
        return Err(TokenError::WrongAudience);
    }
    let leeway = config.leeway.as_secs();
    let begins = match claims.get("nbf") {
        None => i64::MIN,
        Some(nbf) => numeric_date(nbf).ok_or(TokenError::Malformed)?,
    };
    if now < instant(begins.saturating_sub(leeway)) {
        return Err(TokenError::NotYetValid);
    }
    let ends = claims.get("exp").and_then(numeric_date).ok_or(TokenError::NoExpiry)?;
    let expires = instant(ends.saturating_add(leeway));
    if now >= expires { Err(TokenError::Expired) } else { Ok(expires) }
}

/// Whose token it is.
pub(super) fn principal(claims: &Claims, config: &TokensConfig) -> Result<Principal, TokenError> {
    let roles = roles(claims, config)?;
    let of_user = roles.contains(Role::Device) || roles.contains(Role::Inviter);
    let of_service = roles.contains(Role::Backend) || roles.contains(Role::Admin);
    match (of_user, of_service) {
        (false, false) => Err(TokenError::NoRole),
        // Its name would be a user's in one call, and a service's in another.
        (true, true) => Err(TokenError::MixedRoles),
        (false, true) => {
            let name = text(claims, "sub").ok_or(TokenError::NoSubject)?;
            Principal::service(name, roles).map_err(TokenError::InvalidSubject)
        }
        (true, false) => {
            let user = text(claims, &config.user_claim).ok_or(TokenError::NoSubject)?;
            let user =
                UserId::new(user).map_err(|error| TokenError::InvalidSubject(error.into()))?;
            let device = device(claims, roles, config)?;
            let principal = Principal::user(user, device, roles);
            let principal = principal.map_err(TokenError::InvalidSubject)?;
            let grant = grant(claims, config)?;
            Ok(grant.into_iter().fold(principal, Principal::limited_to))
        }
    }
}

fn roles(claims: &Claims, config: &TokensConfig) -> Result<Roles, TokenError> {
    let said = match claims.get(&config.roles_claim) {
        Some(Value::String(said)) => said.split_ascii_whitespace().collect(),
        said => texts(said),
    };
    let roles: Roles =
        said.into_iter().filter_map(|role| config.roles.get(role)).copied().collect();
    if roles.is_empty() { Err(TokenError::NoRole) } else { Ok(roles) }
}

fn device(
    claims: &Claims,
    roles: Roles,
    config: &TokensConfig,
) -> Result<Option<DeviceId>, TokenError> {
    if config.device_claim.is_empty() {
        return Ok(None);
    }
    match claims.get(&config.device_claim) {
        Some(Value::String(device)) => {
            DeviceId::new(device).map(Some).map_err(TokenError::InvalidDevice)
        }
        None if !roles.contains(Role::Device) => Ok(None),
        _ => Err(TokenError::NoDevice),
    }
}

/// Whom the token lets its user invite; none if that is anybody, because no claim says it.
fn grant(claims: &Claims, config: &TokensConfig) -> Result<Option<InviteGrant>, TokenError> {
    let Some(name) = &config.grant_claim else { return Ok(None) };
    let grant = claims.get(name).map(InviteGrant::read).transpose();
    Ok(Some(grant.map_err(TokenError::InvalidGrant)?.unwrap_or_default()))
}

fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// A text, or those of an array.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A NumericDate (RFC 7519, section 2) in whole seconds; what is beyond 64 bits becomes the first or last of them.
fn numeric_date(value: &Value) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation)] // fractions of a second, and it saturates
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

/// The time at a second, or the first or last that there is.
fn instant(second: i64) -> Timestamp {
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(second.clamp(first, last)).unwrap_or(Timestamp::MIN)
}
