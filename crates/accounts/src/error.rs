//! What is our own fault.

use hs_storage::StorageError;

/// An operation failed for a reason that its caller can do nothing about.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database failed, or holds something it should not.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A password could not be hashed or compared.
    #[error("a password could not be hashed: {0}")]
    Hashing(String),
}

/// Lets `?` turn a storage error into an operation's error with a `Failure` variant.
macro_rules! fails_with_storage {
    ($($error:ty),+) => {
        $(impl From<hs_storage::StorageError> for $error {
            fn from(error: hs_storage::StorageError) -> Self {
                Self::Failure($crate::Failure::Storage(error))
            }
        })+
    };
}
pub(crate) use fails_with_storage;
