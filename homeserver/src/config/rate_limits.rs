//! `[rate_limits]`

use hs_http::rate_limit::Rate;
use serde::{Deserialize, Serialize};

use super::{Invalid, section::section};

section! {
    /// How much one client may ask. A limit lets through `burst` requests at once and `per_second` of them in the long
    /// run; a `burst` of 0 switches it off. Each process of a cluster counts for itself. Read again on SIGHUP.
    pub struct RateLimits {
        /// Whether there are limits at all.
        pub enabled: bool = true,
        /// Attempts to log in, per address.
        pub login: RateLimit = RateLimit::new(0.5, 20),
        /// Failed attempts to log in, per account.
        pub login_failures: RateLimit = RateLimit::new(0.1, 10),
        /// Attempts to register, per address.
        pub registration: RateLimit = RateLimit::new(0.2, 10),
        /// Messages and state events sent, per user.
        pub messages: RateLimit = RateLimit::new(10.0, 100),
        /// Rooms created and joined, per user.
        pub joins: RateLimit = RateLimit::new(1.0, 30),
        /// Invites sent, per user.
        pub invites: RateLimit = RateLimit::new(1.0, 50),
        /// Files uploaded, and ids made for them, per user.
        pub uploads: RateLimit = RateLimit::new(2.0, 60),
        /// Files fetched from other servers, and previews of links, per user.
        pub fetches: RateLimit = RateLimit::new(5.0, 200),
        /// Other requests that change something, per user.
        pub writes: RateLimit = RateLimit::new(20.0, 200),
    }
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests per second in the long run.
    pub per_second: f64,
    /// Requests at once.
    pub burst: u32,
}

impl RateLimit {
    const fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

impl RateLimits {
    /// The rate for a limiter, which is none at all where limits are switched off.
    pub fn rate(&self, limit: impl FnOnce(&Self) -> RateLimit) -> Rate {
        if !self.enabled {
            return Rate::UNLIMITED;
        }
        let RateLimit { per_second, burst } = limit(self);
        Rate { per_second, burst }
    }

    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        for (key, limit) in [
            ("login", self.login),
            ("login_failures", self.login_failures),
            ("registration", self.registration),
            ("messages", self.messages),
            ("joins", self.joins),
            ("invites", self.invites),
            ("uploads", self.uploads),
            ("fetches", self.fetches),
            ("writes", self.writes),
        ] {
            if limit.burst > 0 && !(limit.per_second > 0.0 && limit.per_second.is_finite()) {
                return Err(Invalid::new(
                    key,
                    "after the burst, nothing would ever be let through",
                    "set per_second above 0, or burst to 0 for no limit",
                ));
            }
        }
        Ok(())
    }
}
