//! A bearer token.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};

/// Longer than any sensible token, and short enough to be added to any clock.
const LONGEST_VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A bearer token (RFC 6750), such as a JWT. Its text is in no `Debug` output and in no log.
///
/// Two tokens are equal if their texts are.
#[derive(Clone)]
pub struct Token {
    header: MetadataValue<Ascii>,
    renew_at: Option<Instant>,
}

impl Token {
    /// A token that is good until the service refuses it.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`] if it is empty, or more than visible ASCII characters.
    pub fn new(token: impl AsRef<str>) -> Result<Self, InvalidToken> {
        let token = token.as_ref();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidToken);
        }
        let header = format!("Bearer {token}");
        let mut header = MetadataValue::try_from(header).map_err(|_| InvalidToken)?;
        header.set_sensitive(true);
        Ok(Self { header, renew_at: None })
    }

    /// It is good for this long from now on. When nine tenths of that are over, the client asks for
    /// another one.
    #[must_use]
    pub fn valid_for(mut self, validity: Duration) -> Self {
        self.renew_at = Some(Instant::now() + validity.min(LONGEST_VALIDITY) / 10 * 9);
        self
    }

    pub(super) fn header(&self) -> MetadataValue<Ascii> {
        self.header.clone()
    }

    pub(super) fn is_stale(&self) -> bool {
        self.renew_at.is_some_and(|end| Instant::now() >= end)
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.header == other.header
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

/// The text can't be a bearer token: it is empty, or has other characters than visible ASCII ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bearer token consists of visible ASCII characters, and has at least one")]
#[non_exhaustive]
pub struct InvalidToken;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_is_not_shown() {
        let token = Token::new("secret").unwrap().valid_for(Duration::MAX);
        assert_eq!(token.header(), "Bearer secret");
        assert_eq!(format!("{token:?} {:?}", token.header()), "Token { .. } Sensitive");
    }

    #[test]
    fn what_no_header_can_hold_is_no_token() {
        for text in ["", "a b", "a\nb", "ä"] {
            assert_eq!(Token::new(text), Err(InvalidToken), "{text:?}");
        }
    }
}
