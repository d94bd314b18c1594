//! Token buckets in memory, for requests per address, per account, or per any other key.
//!
//! Each replica counts for itself: a cluster of n lets through n times as much, which is fine for what this is for
//! (guessing passwords, runaway clients), and costs no round trip.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};

use crate::ApiError;

/// How many keys a limiter remembers. When it is full, buckets that have filled up again are forgotten, and, if that
/// does not help, all of them: an attacker with that many addresses is not held back by counting them.
const MAX_KEYS: usize = 50_000;

/// How much is let through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests per second in the long run. Zero or less refuses everything beyond the burst.
    pub per_second: f64,
    /// Requests at once after a quiet time. Zero switches the limit off.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { per_second: 0.0, burst: 0 };
}

/// A set of token buckets with one rate. The rate can be changed while in use.
#[derive(Debug)]
pub struct RateLimiter<K> {
    rate: RwLock<Rate>,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    refilled_at: Instant,
}

impl Bucket {
    fn refill(&mut self, rate: Rate, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * rate.per_second).min(f64::from(rate.burst));
        self.refilled_at = now;
    }
}

impl<K: Eq + Hash> RateLimiter<K> {
    /// A limiter with no requests counted yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate: RwLock::new(rate), buckets: Mutex::new(HashMap::new()) }
    }

    /// Uses another rate from now on.
    pub fn set_rate(&self, rate: Rate) {
        *self.rate.write() = rate;
    }

    /// Takes a token for `key`, or says when there will be one.
    pub fn check(&self, key: K) -> Result<(), LimitExceeded> {
        self.check_at(key, Instant::now())
    }

    /// Takes `count` tokens for `key`, or none and says when there will be enough. They must not be more than the burst.
    pub fn check_many(&self, key: K, count: u32) -> Result<(), LimitExceeded> {
        self.take_at(key, count, Instant::now())
    }

    /// As [`RateLimiter::check`], with the time given.
    pub fn check_at(&self, key: K, now: Instant) -> Result<(), LimitExceeded> {
        self.take_at(key, 1, now)
    }

    fn take_at(&self, key: K, count: u32, now: Instant) -> Result<(), LimitExceeded> {
        let count = f64::from(count);
        let rate = *self.rate.read();
        if rate.burst == 0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock();
        if buckets.len() >= MAX_KEYS && !buckets.contains_key(&key) {
            make_room(&mut buckets, rate, now);
        }
        let bucket = buckets.entry(key).or_insert(Bucket { tokens: f64::from(rate.burst), refilled_at: now });
        bucket.refill(rate, now);
        if bucket.tokens >= count {
            bucket.tokens -= count;
            return Ok(());
        }
        Err(LimitExceeded { retry_after: time_until(count - bucket.tokens, rate) })
    }

    /// Whether `key` has a token, without taking it: for limits that only count failures.
    pub fn peek(&self, key: &K) -> Result<(), LimitExceeded> {
        let rate = *self.rate.read();
        let mut buckets = self.buckets.lock();
        let Some(bucket) = buckets.get_mut(key).filter(|_| rate.burst > 0) else { return Ok(()) };
        bucket.refill(rate, Instant::now());
        if bucket.tokens >= 1.0 {
            return Ok(());
        }
        Err(LimitExceeded { retry_after: time_until(1.0 - bucket.tokens, rate) })
    }
}

fn make_room<K: Eq + Hash>(buckets: &mut HashMap<K, Bucket>, rate: Rate, now: Instant) {
    buckets.retain(|_, bucket| {
        bucket.refill(rate, now);
        bucket.tokens < f64::from(rate.burst)
    });
    if buckets.len() >= MAX_KEYS {
        buckets.clear();
    }
}

fn time_until(missing: f64, rate: Rate) -> Duration {
    /// Longer than any client waits, and short enough that a clock or a configuration mended meanwhile is noticed.
    const LONGEST: f64 = 3600.0;
    let seconds = if rate.per_second > 0.0 { missing / rate.per_second } else { LONGEST };
    Duration::from_secs_f64(seconds.clamp(0.001, LONGEST))
}

/// The caller has used up its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate limit exceeded")]
pub struct LimitExceeded {
    /// When the next token is there.
    pub retry_after: Duration,
}

impl From<LimitExceeded> for ApiError {
    fn from(exceeded: LimitExceeded) -> Self {
        ApiError::limit_exceeded(exceeded.retry_after)
    }
}

/// The key under which requests from an address are counted. A household or a server gets a whole /64 of IPv6, so that
/// is what counts as one.
pub fn ip_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3 };

    #[test]
    fn burst_passes_and_the_next_request_waits() {
        let limiter = RateLimiter::new(RATE);
        let now = Instant::now();

        for _ in 0..3 {
            assert_eq!(limiter.check_at("a", now), Ok(()));
        }

        assert_eq!(
            limiter.check_at("a", now),
            Err(LimitExceeded { retry_after: Duration::from_millis(500) })
        );
    }

    #[test]
    fn tokens_come_back_with_time_up_to_the_burst() {
        let limiter = RateLimiter::new(RATE);
        let start = Instant::now();
        for _ in 0..3 {
            limiter.check_at("a", start).unwrap();
        }

        assert!(limiter.check_at("a", start + Duration::from_millis(500)).is_ok());
        assert!(limiter.check_at("a", start + Duration::from_millis(500)).is_err());
        let much_later = start + Duration::from_hours(1);
        assert_eq!((0..10).filter(|_| limiter.check_at("a", much_later).is_ok()).count(), 3);
    }

    #[test]
    fn many_tokens_are_taken_together_or_not_at_all() {
        let limiter = RateLimiter::new(RATE);
        let now = Instant::now();

        assert!(limiter.take_at("a", 2, now).is_ok());
        let refused = LimitExceeded { retry_after: Duration::from_millis(500) };
        assert_eq!(limiter.take_at("a", 2, now), Err(refused));
        assert!(limiter.check_at("a", now).is_ok());
    }

    #[test]
    fn keys_do_not_share_tokens() {
        let limiter = RateLimiter::new(Rate { per_second: 1.0, burst: 1 });
        let now = Instant::now();

        assert!(limiter.check_at("a", now).is_ok());
        assert!(limiter.check_at("b", now).is_ok());
        assert!(limiter.check_at("a", now).is_err());
    }

    #[test]
    fn burst_of_zero_switches_the_limit_off() {
        let limiter = RateLimiter::new(RATE);
        limiter.set_rate(Rate::UNLIMITED);

        assert!((0..100).all(|_| limiter.check("a").is_ok()));
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = RateLimiter::new(RATE);
        let now = Instant::now();

        for key in 0..MAX_KEYS * 2 {
            limiter.check_at(key, now).unwrap();
        }

        assert!(limiter.buckets.lock().len() <= MAX_KEYS);
    }

    #[test]
    fn peek_takes_nothing() {
        let limiter = RateLimiter::new(Rate { per_second: 0.0, burst: 1 });

        assert!(limiter.peek(&"a").is_ok());
        assert!(limiter.peek(&"a").is_ok());
        assert!(limiter.check("a").is_ok());
        assert!(limiter.peek(&"a").is_err());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_key() {
        let [one, two]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());

        assert_eq!(ip_key(one), ip_key(two));
        assert_eq!(ip_key("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
