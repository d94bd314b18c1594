//! What can go wrong below the SQL. None of it reaches a client as text.

/// A failure of the database or of what it holds.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database did not do as asked: unreachable, out of connections, a broken constraint.
    #[error("the database failed")]
    Driver(#[source] sqlx::Error),
    /// A row says something that it never should.
    #[error("inconsistent data in {table}.{column}, row {row}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key, as text.
        row: String,
    },
    /// A statement changed another number of rows than it must.
    #[error("{actual} rows changed instead of {expected}")]
    RowsAffected {
        /// How many should have changed.
        expected: u64,
        /// How many did.
        actual: u64,
    },
    /// The schema could not be brought up to date.
    #[error("{0}")]
    Migration(String),
    /// The batching writer has stopped, since the server is shutting down.
    #[error("the server is shutting down")]
    Closed,
}

impl StorageError {
    /// Whether the same call may succeed when tried again: the connection broke or the pool was exhausted.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Driver(error) => {
                matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed)
                    || error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(
                        |code| {
                            // 08: connection exception, 57P: operator intervention, 40: transaction rollback.
                            code.starts_with("08") || code.starts_with("57P") || code.starts_with("40")
                        },
                    )
            }
            Self::Inconsistent { .. } | Self::RowsAffected { .. } | Self::Migration(_) | Self::Closed => {
                false
            }
        }
    }

    /// Whether it is what was written or read that failed, rather than the database: nothing was written, and other calls may
    /// well succeed.
    pub fn is_about_data(&self) -> bool {
        match self {
            Self::Driver(sqlx::Error::Database(_)) => !self.is_transient(),
            Self::Inconsistent { .. } => true,
            Self::Driver(_) | Self::RowsAffected { .. } | Self::Migration(_) | Self::Closed => false,
        }
    }

    /// Whether the database gave the transaction up because of another one, so that nothing was written.
    pub fn is_deadlock(&self) -> bool {
        // 40P01: deadlock detected, 40001: serialization failure.
        matches!(self, Self::Driver(error) if error.as_database_error().and_then(sqlx::error::DatabaseError::code)
            .is_some_and(|code| code == "40P01" || code == "40001"))
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

/// The usual result of this crate.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;
