//! `[http]`

use super::{Invalid, section::section};

section! {
    /// Limits of the HTTP server, the same for every listener.
    pub struct Http {
        /// How many connections may be open at once on all listeners together. Further ones wait to be accepted.
        pub max_connections: usize = 20_000,
        /// Seconds that a client may take to send the head of a request, and that an idle connection is kept.
        pub header_timeout_seconds: u64 = 60,
        /// Seconds that requests may still take when the server is stopped. Long polls are ended at once.
        pub shutdown_timeout_seconds: u64 = 15,
    }
}

impl Http {
    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if self.max_connections == 0 {
            return Err(Invalid::new("max_connections", "nobody could connect", "set it to 1 or more"));
        }
        if self.header_timeout_seconds == 0 {
            return Err(Invalid::new(
                "header_timeout_seconds",
                "no request could arrive",
                "set it to 1 or more",
            ));
        }
        Ok(())
    }
}
