//! The tokens of one call.

use std::sync::Arc;

use tonic::Request;

use super::{Token, TokenCache};
use crate::Result;

/// Puts the token into the tries of a call, and another one if it is refused: once.
#[derive(Debug)]
pub(crate) struct Authorization {
    tokens: Option<Arc<TokenCache>>,
    sent: Option<Token>,
    renewed: bool,
}

impl Authorization {
    pub(crate) fn new(tokens: Option<Arc<TokenCache>>) -> Self {
        Self { tokens, sent: None, renewed: false }
    }

    pub(crate) async fn authorize<T>(&mut self, request: &mut Request<T>) -> Result<()> {
        if let Some(tokens) = &self.tokens {
            let token = tokens.token(None).await?;
            request.metadata_mut().insert("authorization", token.header());
            self.sent = Some(token);
        }
        Ok(())
    }

    /// The service refused the token. Returns whether there is another one to try.
    pub(crate) async fn renew(&mut self) -> Result<bool> {
        let (Some(tokens), Some(refused)) = (&self.tokens, &self.sent) else {
            return Ok(false);
        };
        if self.renewed {
            return Ok(false);
        }
        let token = tokens.token(Some(refused)).await?;
        self.renewed = true;
        Ok(token != *refused)
    }

    /// The service took the token, so that its next refusal is a new matter.
    pub(crate) fn accepted(&mut self) {
        self.renewed = false;
    }
}
