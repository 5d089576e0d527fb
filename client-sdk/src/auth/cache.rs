//! The token in use.

use std::fmt;

use tokio::sync::Mutex;

use super::{Token, TokenProvider};
use crate::{Error, Result};

/// A provider, and the token that it gave last.
pub(crate) struct TokenCache {
    provider: Box<dyn TokenProvider>,
    token: Mutex<Option<Token>>,
}

impl TokenCache {
    pub(crate) fn new(provider: impl TokenProvider + 'static) -> Self {
        Self { provider: Box::new(provider), token: Mutex::default() }
    }

    /// The token in use, or another one if that is stale or this refused one. Who waits meanwhile
    /// finds the new one, so that the provider is asked once; if a call is dropped while it asks, the
    /// next one takes over.
    pub(super) async fn token(&self, refused: Option<&Token>) -> Result<Token> {
        let mut current = self.token.lock().await;
        if let Some(token) = &*current
            && !token.is_stale()
            && refused != Some(token)
        {
            return Ok(token.clone());
        }
        *current = None;
        let token = self.provider.token(refused).await.map_err(Error::Token)?;
        Ok(current.insert(token).clone())
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").finish_non_exhaustive()
    }
}
