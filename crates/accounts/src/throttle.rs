//! How often clients may try to get in.

use std::{net::IpAddr, time::Duration};

use hs_http::rate_limit::{RateLimiter, ip_key};
use hs_model::ids::UserNid;

use crate::options::AccountRates;

/// Counts attempts per address and failures per account.
#[derive(Debug)]
pub(crate) struct Throttle {
    logins: RateLimiter<IpAddr>,
    failures: RateLimiter<UserNid>,
    registrations: RateLimiter<IpAddr>,
}

/// Too many attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throttled {
    pub(crate) retry_after: Duration,
}

impl Throttle {
    pub(crate) fn new(rates: &AccountRates) -> Self {
        Self {
            logins: RateLimiter::new(rates.login),
            failures: RateLimiter::new(rates.login_failures),
            registrations: RateLimiter::new(rates.registration),
        }
    }

    pub(crate) fn set_rates(&self, rates: &AccountRates) {
        self.logins.set_rate(rates.login);
        self.failures.set_rate(rates.login_failures);
        self.registrations.set_rate(rates.registration);
    }

    /// Counts an attempt to log in from an address.
    pub(crate) fn login(&self, ip: IpAddr) -> Result<(), Throttled> {
        self.logins.check(ip_key(ip)).map_err(|limit| Throttled { retry_after: limit.retry_after })
    }

    /// Counts an attempt to register from an address.
    pub(crate) fn registration(&self, ip: IpAddr) -> Result<(), Throttled> {
        self.registrations.check(ip_key(ip)).map_err(|limit| Throttled { retry_after: limit.retry_after })
    }

    /// Whether an account has failures left.
    pub(crate) fn may_try(&self, user: UserNid) -> Result<(), Throttled> {
        self.failures.peek(&user).map_err(|limit| Throttled { retry_after: limit.retry_after })
    }

    /// Counts a wrong password for an account.
    pub(crate) fn note_failure(&self, user: UserNid) {
        // The answer to this attempt is given already; the next one asks first.
        let _ = self.failures.check(user);
    }
}
