//! How much one user may do to rooms.

use hs_http::rate_limit::RateLimiter;
use hs_model::ids::UserNid;

use crate::config::RateLimits;

/// One limiter for each kind of action.
#[derive(Debug)]
pub(crate) struct RoomLimits {
    /// Messages, state events and redactions.
    pub(crate) messages: RateLimiter<UserNid>,
    /// Rooms made, joined, knocked at and upgraded.
    pub(crate) joins: RateLimiter<UserNid>,
    /// Invites.
    pub(crate) invites: RateLimiter<UserNid>,
    /// Everything else that changes something.
    pub(crate) writes: RateLimiter<UserNid>,
}

impl RoomLimits {
    /// Limiters with the configured rates.
    pub(crate) fn new(config: &RateLimits) -> Self {
        Self {
            messages: RateLimiter::new(config.rate(|limits| limits.messages)),
            joins: RateLimiter::new(config.rate(|limits| limits.joins)),
            invites: RateLimiter::new(config.rate(|limits| limits.invites)),
            writes: RateLimiter::new(config.rate(|limits| limits.writes)),
        }
    }

    /// Uses other rates from now on.
    pub(crate) fn set_rates(&self, config: &RateLimits) {
        self.messages.set_rate(config.rate(|limits| limits.messages));
        self.joins.set_rate(config.rate(|limits| limits.joins));
        self.invites.set_rate(config.rate(|limits| limits.invites));
        self.writes.set_rate(config.rate(|limits| limits.writes));
    }
}
