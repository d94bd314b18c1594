//! `[database]`

use std::path::PathBuf;

use super::{Invalid, Secret, section::section};

section! {
    /// Where the server keeps what it knows: a Postgres (15 or newer).
    pub struct Database {
        /// The URL of the database, such as "postgres://kith:password@db.example.org/kith". The user needs no rights
        /// beyond owning that database. Empty: Kith runs a Postgres of its own in the data directory, reachable only
        /// through a unix socket.
        pub url: Secret = Secret::default(),
        /// How many connections to the database this process may hold.
        pub max_connections: u32 = 20,
        /// How many connections are kept open when there is nothing to do.
        pub min_connections: u32 = 2,
        /// Seconds to wait for a connection to become free before a request fails.
        pub acquire_timeout_seconds: u64 = 30,
        /// The directory with the programs of Postgres (initdb, postgres), for the server's own Postgres. Empty: the
        /// newest under /usr/lib/postgresql, or else those in PATH.
        pub postgres_bin_dir: PathBuf = PathBuf::new(),
        /// The user as which the server's own Postgres runs when Kith is started as root, since Postgres refuses to.
        /// Empty: "kith", "postgres" or "nobody", whichever exists first.
        pub postgres_user: String = String::new(),
    }
}

impl Database {
    /// Whether Kith runs its own Postgres.
    pub fn is_embedded(&self) -> bool {
        self.url.is_empty()
    }

    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let url = self.url.expose();
        if !url.is_empty() && !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            // The value may hold a password, so it is not repeated.
            return Err(Invalid::new(
                "url",
                "it is not the URL of a Postgres database",
                "write it as postgres://user:password@host/database",
            ));
        }
        if self.max_connections < 4 {
            return Err(Invalid::new(
                "max_connections",
                "the server needs at least 4 connections",
                "set it to 4 or more",
            ));
        }
        if self.min_connections > self.max_connections {
            return Err(Invalid::new(
                "min_connections",
                "it is more than max_connections",
                "set it to max_connections or less",
            ));
        }
        Ok(())
    }
}
