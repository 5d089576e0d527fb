use std::error::Error;
use tokio_postgres::error::SqlState;

type Source = Box<dyn Error + Send + Sync>;

/// Why the database did not do what it was asked.
///
/// The source says it in the driver's words, which belong in a log and never in an answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection became free in time.
    #[error("every database connection is busy")]
    Busy,
    /// There is no connection, or it broke: the statement may or may not have been done.
    #[error("the database can't be reached")]
    Unavailable(#[source] Source),
    /// The statement lost a deadlock or a serialization conflict, and was not done.
    #[error("the statement conflicts with another")]
    Conflict(#[source] Source),
    /// Anything else: a fault of this service or of its schema.
    #[error("the database refused a statement")]
    Internal(#[source] Source),
}

impl StoreError {
    pub(super) fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let code = error.code();
        let conflict = code.is_some_and(|code| {
            [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code)
        });
        // Classes 08, 53, 57 and 58 of SQLSTATE: connection, resources, operator, system. And read-only: a standby.
        let unavailable = code.is_none_or(|code| {
            ["08", "53", "57", "58"].iter().any(|class| code.code().starts_with(class))
                || [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::LOCK_NOT_AVAILABLE]
                    .contains(code)
        });
        if conflict {
            Self::Conflict(error.into())
        } else if unavailable {
            Self::Unavailable(error.into())
        } else {
            Self::Internal(error.into())
        }
    }
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        use deadpool_postgres::{PoolError, TimeoutType};
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Self::Busy,
            other => Self::Unavailable(other.into()),
        }
    }
}
