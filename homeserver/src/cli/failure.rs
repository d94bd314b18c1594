//! Why a command failed, and the exit code that says so.

use std::{error::Error as StdError, process::ExitCode};

use crate::{config::ConfigError, database::DatabaseError, listener::ListenError};

/// A command's failure.
#[derive(Debug)]
pub(super) enum Failure {
    Config(ConfigError),
    Database(DatabaseError),
    Listen(ListenError),
    Other(anyhow::Error),
}

impl Failure {
    pub(super) fn other(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::Other(error.into())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Config(_) => 3,
            Self::Database(_) => 4,
            Self::Listen(_) => 5,
        }
    }

    /// Says what went wrong, for people, and with which code to end.
    #[expect(clippy::print_stderr, reason = "the output of a command")]
    pub(super) fn report(self) -> ExitCode {
        match &self {
            Self::Config(error) => eprintln!("kith: {error}"),
            Self::Database(error) => eprintln!("kith: {error}"),
            Self::Listen(error) => eprintln!("kith: {error}"),
            Self::Other(error) => eprintln!("kith: {error:#}"),
        }
        ExitCode::from(self.code())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<anyhow::Error> for Failure {
    /// Looks for the failures that have a code of their own.
    fn from(error: anyhow::Error) -> Self {
        let error = match error.downcast::<ListenError>() {
            Ok(error) => return Self::Listen(error),
            Err(error) => error,
        };
        match error.downcast::<DatabaseError>() {
            Ok(error) => Self::Database(error),
            Err(error) => Self::Other(error),
        }
    }
}
