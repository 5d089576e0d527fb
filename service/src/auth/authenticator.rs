use super::{
    CertificateNames, InviteGrant, Principal, TokenError,
    token::{TokenVerifier, VerificationError},
};
use crate::{
    clock::Clock,
    config::{AuthConfig, CertificateConfig, ConfigError},
    supervise::Supervisor,
};
use std::{fmt, sync::Arc};

/// Why a caller is nobody. The texts may be shown to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// The call came with neither a token nor a client certificate.
    #[error("neither a bearer token nor a client certificate was sent")]
    NoCredentials,
    /// The token is not accepted.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// No service is configured for the client certificate, and there was no token.
    #[error("no service is configured for any name of the client certificate")]
    UnmappedCertificate,
    /// The keys of the tokens' issuer have not been had yet. Not the caller's fault: it may try again.
    #[error("the keys of the tokens' issuer can't be had at the moment; try again")]
    KeysUnavailable,
}

impl AuthenticationError {
    /// A word for metrics.
    fn label(&self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::Token(error) => error.label(),
            Self::UnmappedCertificate => "unmapped_certificate",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

impl From<VerificationError> for AuthenticationError {
    fn from(error: VerificationError) -> Self {
        match error {
            VerificationError::Token(error) => Self::Token(error),
            VerificationError::KeysUnavailable => Self::KeysUnavailable,
        }
    }
}

/// Tells who a caller is, by its bearer token or its client certificate.
///
/// Cheap to clone. When the last clone is dropped, it stops to look after the issuer's keys.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    tokens: Option<TokenVerifier>,
    certificates: Vec<CertificateConfig>,
    /// Whether inviters need a grant, which only a token can hold.
    grants: bool,
}

impl Authenticator {
    /// Begins to look after the issuer's keys, within a Tokio runtime. None if no caller has to prove who it is.
    ///
    /// The keys need not be had yet: until then, tokens are refused as [`AuthenticationError::KeysUnavailable`].
    ///
    /// # Errors
    /// If the certificates to trust for the issuer's address can't be had.
    pub fn new(
        config: &AuthConfig,
        clock: Arc<dyn Clock>,
        tasks: &Supervisor,
    ) -> Result<Option<Self>, ConfigError> {
        if !config.is_required() {
            return Ok(None);
        }
        let tokens = config.tokens.as_ref();
        let grants = tokens.is_some_and(|tokens| tokens.grant_claim.is_some());
        let tokens = tokens.map(|tokens| TokenVerifier::new(tokens, clock, tasks)).transpose()?;
        let certificates = config.certificates.clone();
        Ok(Some(Self(Arc::new(Inner { tokens, certificates, grants }))))
    }

    /// Who the caller is. `bearer` is what follows `Bearer ` in the `authorization` header (RFC 6750), and `certificate`
    /// the names of a client certificate that was verified.
    ///
    /// If there is a token, it decides, and a bad one is refused whatever the certificate: services may relay the tokens
    /// of users. The result is counted in `keypool_authentications_total`.
    ///
    /// # Errors
    /// If the caller is nobody that is known.
    pub async fn authenticate(
        &self,
        bearer: Option<&str>,
        certificate: Option<CertificateNames<'_>>,
    ) -> Result<Principal, AuthenticationError> {
        let (kind, result) = match (bearer, certificate) {
            (Some(token), _) => ("token", self.by_token(token).await),
            (None, Some(names)) => ("certificate", self.by_certificate(names)),
            (None, None) => ("none", Err(AuthenticationError::NoCredentials)),
        };
        let label = result.as_ref().map_or_else(AuthenticationError::label, |_principal| "ok");
        crate::telemetry::catalogue::AUTHENTICATIONS.count([kind, label]);
        result
    }

    fn by_certificate(
        &self,
        names: CertificateNames<'_>,
    ) -> Result<Principal, AuthenticationError> {
        let service = names.principal(&self.0.certificates);
        let service = service.ok_or(AuthenticationError::UnmappedCertificate)?;
        Ok(if self.0.grants { service.limited_to(InviteGrant::default()) } else { service })
    }

    async fn by_token(&self, token: &str) -> Result<Principal, AuthenticationError> {
        match &self.0.tokens {
            Some(tokens) => Ok(tokens.verify(token).await?),
            // Not ignored: what the caller sent to lower its rights must not raise them.
            None => Err(TokenError::NotAccepted.into()),
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
