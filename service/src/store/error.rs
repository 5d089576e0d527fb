use super::Fault;
use super::sqlstate::{Meaning, Persisting, meaning};
use std::{error::Error, io, sync::Arc};
use tokio_postgres::{error::SqlState, types::WrongType};

type Source = Arc<dyn Error + Send + Sync>;

/// Why the database did not do what it was asked.
///
/// The source says it in the driver's words, which belong in a log and never in an answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No connection became free in time.
    #[error("every database connection is busy")]
    Busy,
    /// The connection broke: the statement may or may not have been done.
    #[error("the connection to the database broke")]
    Lost(#[source] Source),
    /// There is no connection, or the database is not as it should be for now: read-only, without a table or a right.
    #[error("the database can't be reached, or can't do what it should for now")]
    Unavailable(#[source] Source),
    /// The statement was prepared for a database or a connection that is no longer as it was, and was not done. Run it again
    /// on a new connection, once. Inside: what the error is if that fails too.
    #[error(transparent)]
    Stale(Box<Self>),
    /// The statement lost a deadlock or a serialization conflict, and was not done.
    #[error("the statement conflicts with another")]
    Conflict(#[source] Source),
    /// Another transaction kept a row locked for too long: the statement was not done.
    #[error("another transaction keeps a row locked")]
    Locked(#[source] Source),
    /// Anything else: a fault of this service or of its schema.
    #[error("the database refused a statement")]
    Internal(#[source] Source),
}

impl StoreError {
    /// Its name in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Lost(_) => "lost",
            Self::Unavailable(_) => "unavailable",
            Self::Stale(_) => "stale",
            Self::Conflict(_) => "conflict",
            Self::Locked(_) => "locked",
            Self::Internal(_) => "internal",
        }
    }

    /// Whether the database answered a write that it won't do it, and not for what others do meanwhile.
    pub(super) fn refuses_writes(&self) -> bool {
        match self {
            Self::Internal(_) => true,
            Self::Unavailable(source) => {
                let code = source.downcast_ref().and_then(tokio_postgres::Error::code);
                // Objects in use, and operators.
                code.is_some_and(|code| !["55", "57"].iter().any(|of| code.code().starts_with(of)))
            }
            Self::Stale(error) => error.refuses_writes(),
            Self::Busy | Self::Lost(_) | Self::Conflict(_) | Self::Locked(_) => false,
        }
    }

    /// Whether the connection is to be used no more, although it did not break: it began with other settings, or what was prepared
    /// on it is out of date.
    pub(super) fn is_of_the_connection(&self) -> bool {
        matches!(self, Self::Stale(_))
    }

    /// Whether the same can succeed later, although nothing is mended by hand.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Busy | Self::Lost(_) | Self::Conflict(_) | Self::Locked(_) => true,
            Self::Stale(error) => error.may_pass(),
            Self::Unavailable(_) if self.code().is_none() => true,
            Self::Unavailable(_) | Self::Internal(_) => super::requirements::may_pass(self),
        }
    }

    pub(super) fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(source.into().into())
    }

    /// What it is once a new connection has met it too: never [`Self::Stale`].
    #[must_use]
    pub fn settled(self) -> Self {
        match self {
            Self::Stale(error) => *error,
            other => other,
        }
    }

    /// The SQLSTATE with which the database refused, if it did.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Busy => None,
            Self::Stale(error) => error.code(),
            Self::Lost(source)
            | Self::Unavailable(source)
            | Self::Conflict(source)
            | Self::Locked(source)
            | Self::Internal(source) => {
                let error: Option<&tokio_postgres::Error> = source.downcast_ref();
                error.and_then(tokio_postgres::Error::code)
            }
        }
    }

    /// The fault of the database that it is about, if keypool found it.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Unavailable(source) => source.downcast_ref(),
            _ => None,
        }
    }

    /// The service panicked, as it must not.
    pub(crate) fn panicked() -> Self {
        Self::internal("a panic, which the log shows")
    }

    /// A row stayed locked.
    pub(crate) fn locked() -> Self {
        let locked: Box<dyn Error + Send + Sync> = "a row that the call needs is locked".into();
        Self::Locked(locked.into())
    }

    /// The connection was given up, maybe while a statement was executed.
    pub(crate) fn interrupted() -> Self {
        let interrupted: Box<dyn Error + Send + Sync> = "the service stopped meanwhile".into();
        Self::Lost(interrupted.into())
    }

    /// The database does not answer.
    pub(super) fn silent() -> Self {
        let silent: Box<dyn Error + Send + Sync> = "the database does not answer".into();
        Self::Lost(silent.into())
    }

    pub(super) fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(source.into().into())
    }

    pub(crate) fn conflict(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Conflict(source.into().into())
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let meaning = match error.code() {
            Some(code) => meaning(code.code()),
            None => meaning_of_driver(&error),
        };
        let source: Source = Arc::new(error);
        match meaning {
            Meaning::Conflict => Self::Conflict(source),
            Meaning::Locked => Self::Locked(source),
            Meaning::Lost => Self::Lost(source),
            Meaning::Unavailable => Self::Unavailable(source),
            Meaning::Internal => Self::Internal(source),
            Meaning::Stale(Persisting::Unavailable) => {
                Self::Stale(Box::new(Self::Unavailable(source)))
            }
            Meaning::Stale(Persisting::Internal) => Self::Stale(Box::new(Self::Internal(source))),
        }
    }
}

/// What an error means that the driver found out by itself.
fn meaning_of_driver(error: &tokio_postgres::Error) -> Meaning {
    let source = error.source();
    let io = source.and_then(|source| source.downcast_ref::<io::Error>());
    if error.is_closed() || io.is_some_and(|io| io.kind() != io::ErrorKind::InvalidInput) {
        Meaning::Lost
    } else if source.is_some_and(<dyn Error>::is::<WrongType>) {
        // A column is of another type than our migrations made it.
        Meaning::Stale(Persisting::Unavailable)
    } else {
        // A value or a message that does not fit: a fault of ours, unless what the driver prepared is out of date.
        Meaning::Stale(Persisting::Internal)
    }
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        use deadpool_postgres::{PoolError, TimeoutType};
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Self::Busy,
            other => Self::unavailable(other),
        }
    }
}
