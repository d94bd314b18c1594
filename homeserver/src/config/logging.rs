//! `[logging]`

use serde::{Deserialize, Serialize};

use super::{Invalid, section::section};

section! {
    /// What is logged, on the standard error output.
    pub struct Logging {
        /// "error", "warn", "info", "debug" or "trace", and different ones for parts of the program, such as
        /// "info,hs_sync=debug". Read again on SIGHUP.
        pub filter: String = "info".to_owned(),
        /// "pretty": for reading; "json": one object per line, for collecting; "auto": pretty on a terminal, else
        /// JSON.
        pub format: LogFormat = LogFormat::Auto,
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Pretty on a terminal, otherwise JSON.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

impl Logging {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        match self.filter.parse::<tracing_subscriber::EnvFilter>() {
            Ok(_) => Ok(()),
            Err(error) => Err(Invalid::new(
                "filter",
                error.to_string(),
                "write a level (error, warn, info, debug, trace), or levels per part: info,hs_sync=debug",
            )),
        }
    }
}
