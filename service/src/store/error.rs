use std::{error::Error, sync::Arc};
use tokio_postgres::error::SqlState;

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
    /// There is no connection, or the database can't do what it should for now.
    #[error("the database can't be reached")]
    Unavailable(#[source] Source),
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
            Self::Busy | Self::Lost(_) | Self::Conflict(_) | Self::Locked(_) => false,
        }
    }

    pub(super) fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(source.into().into())
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
        let code = error.code();
        let conflict = code.is_some_and(|code| {
            [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code)
        });
        // Class 08 of SQLSTATE: connection. 57P0: the server stops or crashes. Without a code, the driver lost it.
        let lost = code
            .is_none_or(|code| ["08", "57P0"].iter().any(|class| code.code().starts_with(class)));
        // Classes 53, 57 and 58: resources, operator, system. And read-only: a standby.
        let unavailable = code.is_some_and(|code| {
            ["53", "57", "58"].iter().any(|class| code.code().starts_with(class))
                || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        });
        let locked = code == Some(&SqlState::LOCK_NOT_AVAILABLE);
        let source: Source = Arc::new(error);
        if conflict {
            Self::Conflict(source)
        } else if locked {
            Self::Locked(source)
        } else if lost {
            Self::Lost(source)
        } else if unavailable {
            Self::Unavailable(source)
        } else {
            Self::Internal(source)
        }
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
