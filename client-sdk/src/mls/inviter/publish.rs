//! What the application's publish step may answer.

use std::fmt;

use crate::mls::BoxError;

/// Why the commit and the Welcome were not published, and what to do about it.
///
/// Any error turns into [`Retry`](Self::Retry) by `?`, which is always safe: the same messages are
/// published again.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// They may or may not have arrived: publish them again, after a delay that grows up to half a
    /// minute.
    Retry(BoxError),

    /// Not now. The commit stays pending in the group, and
    /// [`Inviter::recover`](super::Inviter::recover) publishes it later.
    Later(BoxError),

    /// The delivery service refused the commit for good: another one won the epoch. The pending
    /// commit is cleared.
    Refused(BoxError),
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for PublishError {
    fn from(error: E) -> Self {
        Self::Retry(error.into())
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(source) => write!(f, "not published yet: {source}"),
            Self::Later(source) => write!(f, "to be published later: {source}"),
            Self::Refused(source) => write!(f, "the commit was refused: {source}"),
        }
    }
}
