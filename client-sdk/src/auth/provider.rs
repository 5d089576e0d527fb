//! Where tokens come from.

use std::error::Error;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use super::Token;

/// What [`TokenProvider::token`] returns.
pub type TokenFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Token, Box<dyn Error + Send + Sync>>> + Send + 'a>>;

/// Where bearer tokens come from: an identity provider, a mounted file, a login.
///
/// The client keeps a token, and asks for another one when nine tenths of its
/// [validity](Token::valid_for) are over or the service refused it. It asks once for all calls that
/// wait for the answer. A [`Token`] is a provider of itself.
///
/// ```
/// use keypool_client::{Token, TokenFuture, TokenProvider};
///
/// /// A token that something else keeps fresh, such as Kubernetes.
/// struct MountedToken(std::path::PathBuf);
///
/// impl TokenProvider for MountedToken {
///     fn token<'a>(&'a self, _refused: Option<&'a Token>) -> TokenFuture<'a> {
///         Box::pin(async move {
///             let token = std::fs::read_to_string(&self.0)?;
///             Ok(Token::new(token.trim())?.valid_for(std::time::Duration::from_secs(60)))
///         })
///     }
/// }
/// ```
pub trait TokenProvider: Send + Sync {
    /// A token for the calls from now on. `refused` is the one that the service has just refused: a
    /// provider with a store of its own must not return that again, as the call would then not be
    /// repeated.
    ///
    /// It takes part of the calls' time, and is dropped when the calls that wait for it are.
    ///
    /// # Errors
    ///
    /// Any. The client asks again, as it repeats calls, and fails with
    /// [`Error::Token`](crate::Error::Token) in the end. An error must not show the token.
    fn token<'a>(&'a self, refused: Option<&'a Token>) -> TokenFuture<'a>;
}

/// Always itself.
impl TokenProvider for Token {
    fn token<'a>(&'a self, _refused: Option<&'a Token>) -> TokenFuture<'a> {
        Box::pin(ready(Ok(self.clone())))
    }
}

impl<P: TokenProvider + ?Sized> TokenProvider for Arc<P> {
    fn token<'a>(&'a self, refused: Option<&'a Token>) -> TokenFuture<'a> {
        (**self).token(refused)
    }
}
