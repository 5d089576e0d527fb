use super::{
    TokenError,
    claims::{self, Claims},
    key_set::{Key, KeySet},
    keys::{Keys, Unavailable},
    seen::{SeenTokens, TokenHash},
};
use crate::{
    auth::Principal,
    clock::Clock,
    config::{ConfigError, TokensConfig},
    supervise::Supervisor,
};
use jsonwebtoken::{Header, Validation, errors::ErrorKind};
use std::sync::Arc;

/// The most bytes of a token.
const MAX_BYTES: usize = 8 * 1024;

/// Why a token tells nobody's name.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::auth) enum VerificationError {
    /// The token's fault.
    Token(TokenError),
    /// The issuer's keys have not been had yet.
    KeysUnavailable,
}

impl From<TokenError> for VerificationError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<Unavailable> for VerificationError {
    fn from(Unavailable: Unavailable) -> Self {
        Self::KeysUnavailable
    }
}

/// Verifies the tokens of one issuer.
#[derive(Debug)]
pub(in crate::auth) struct TokenVerifier {
    config: TokensConfig,
    clock: Arc<dyn Clock>,
    keys: Keys,
    seen: SeenTokens,
}

impl TokenVerifier {
    /// Begins to look after the issuer's keys, within a Tokio runtime.
    ///
    /// # Errors
    /// If the certificates to trust for the issuer's address can't be had.
    pub(in crate::auth) fn new(
        config: &TokensConfig,
        clock: Arc<dyn Clock>,
        tasks: &Supervisor,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            config: config.clone(),
            clock: clock.clone(),
            keys: Keys::new(config, clock, tasks)?,
            seen: SeenTokens::new(),
        })
    }

    /// Whose token it is.
    pub(in crate::auth) async fn verify(
        &self,
        token: &str,
    ) -> Result<Principal, VerificationError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::TooLong.into());
        }
        let hash = TokenHash::of(token);
        let keys = self.keys.current().await?;
        if let Some(principal) = self.seen.get(hash, &keys, self.clock.now()) {
            return Ok(principal);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::CriticalExtension.into());
        }
        let typ = header.typ.as_deref().unwrap_or_default();
        if self.config.typ.as_ref().is_some_and(|required| !required.matches(typ)) {
            return Err(TokenError::WrongType.into());
        }
        let keys = self.keys_for(&header, keys).await?;
        let key = keys.find(header.kid.as_deref())?;
        let claims = verified_claims(token, &header, key)?;
        let expires = claims::check(&claims, &self.config, self.clock.now())?;
        let principal = claims::principal(&claims, &self.config)?.until(expires);
        self.seen.put(hash, &keys, expires, principal.clone());
        Ok(principal)
    }

    /// The keys, read again if they don't have the token's.
    async fn keys_for(
        &self,
        header: &Header,
        keys: Arc<KeySet>,
    ) -> Result<Arc<KeySet>, Unavailable> {
        match keys.find(header.kid.as_deref()) {
            Err(TokenError::UnknownKey) => self.keys.refreshed().await,
            _ => Ok(keys),
        }
    }
}

/// What the token says, if its signature is by the key. The key decides the algorithm, and the claims are left to us.
fn verified_claims(token: &str, header: &Header, key: &Key) -> Result<Claims, TokenError> {
    if header.alg != key.algorithm {
        return Err(TokenError::WrongAlgorithm);
    }
    let mut signature_only = Validation::new(key.algorithm);
    signature_only.required_spec_claims.clear();
    signature_only.validate_exp = false;
    signature_only.validate_aud = false;
    match jsonwebtoken::decode(token, &key.decoding, &signature_only) {
        Ok(token) => Ok(token.claims),
        Err(error) => Err(match error.kind() {
            ErrorKind::InvalidSignature => TokenError::WrongSignature,
            _ => TokenError::Malformed,
        }),
    }
}
