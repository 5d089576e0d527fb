//! Bearer tokens: where they come from, and when another one is needed.

mod authorization;
mod cache;
mod provider;
mod token;

pub(crate) use authorization::Authorization;
pub(crate) use cache::TokenCache;
pub use provider::{TokenFuture, TokenProvider};
pub use token::{InvalidToken, Token};
