//! When to try again a server that does not answer.

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// After the first failure, the next attempt comes this soon; then each time twice as late.
const FIRST_DELAY_MS: i64 = 2_000;
/// The longest pause, at first.
const MAX_DELAY_MS: i64 = 60 * 60 * 1000;
/// The longest pause for a server that has been away for a day, and for a week.
const MAX_DELAY_AFTER_DAY_MS: i64 = 4 * 60 * 60 * 1000;
const MAX_DELAY_AFTER_WEEK_MS: i64 = 24 * 60 * 60 * 1000;
/// The shortest pause after a failure, though the server speaks to us.
const MIN_DELAY_HEARD_MS: i64 = 5_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The longest that a server may ask to be left alone.
const MAX_ASKED_MS: i64 = 60 * 60 * 1000;

/// How a server has been answering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    /// Attempts that failed in a row.
    pub(super) failures: u32,
    /// When the first of them failed, in milliseconds.
    pub(super) failing_since: Option<i64>,
    /// Nothing is sent before, in milliseconds.
    pub(super) retry_at: Option<i64>,
    /// When the last attempt failed, if this process made it.
    pub(super) failed_at: Option<i64>,
}

impl Backoff {
    /// Whether something may be sent.
    pub(super) fn is_due(&self, now_ms: i64) -> bool {
        self.retry_at.is_none_or(|retry_at| retry_at <= now_ms)
    }

    /// An attempt has failed; the server may have said how long to wait.
    pub(super) fn failed(&mut self, now_ms: i64, asked: Option<Duration>, rng: &mut impl Rng) {
        let since = *self.failing_since.get_or_insert(now_ms);
        let cap = match now_ms - since {
            away if away >= 7 * DAY_MS => MAX_DELAY_AFTER_WEEK_MS,
            away if away >= DAY_MS => MAX_DELAY_AFTER_DAY_MS,
            _ => MAX_DELAY_MS,
        };
        let delay = FIRST_DELAY_MS.saturating_mul(1 << self.failures.min(30)).min(cap);
        // Servers that went away together do not all come up for the next attempt together.
        let delay = (delay as f64 * rng.random_range(0.75..1.25)) as i64;
        let asked = asked.map_or(0, |asked| (asked.as_millis() as i64).min(MAX_ASKED_MS));
        self.retry_at = Some(now_ms.saturating_add(delay.max(asked)));
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now_ms);
    }

    /// An attempt has succeeded.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The server has made itself heard: the next attempt may come at once. One that speaks and does not listen is not tried
    /// at every word.
    pub(super) fn heard(&mut self) {
        let soonest = self.failed_at.map(|failed_at| failed_at + MIN_DELAY_HEARD_MS);
        self.retry_at = self.retry_at.and_then(|retry_at| Some(retry_at.min(soonest?)));
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn delays(start: Backoff, now_ms: i64, count: usize) -> Vec<i64> {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = start;
        (0..count)
            .map(|_| {
                backoff.failed(now_ms, None, &mut rng);
                backoff.retry_at.unwrap() - now_ms
            })
            .collect()
    }

    #[test]
    fn pauses_grow_up_to_an_hour() {
        let delays = delays(Backoff::default(), 1_000_000, 16);

        for (attempt, delay) in delays.iter().enumerate() {
            let expected = (FIRST_DELAY_MS << attempt).min(MAX_DELAY_MS);
            assert!((expected * 3 / 4..=expected * 5 / 4).contains(delay), "attempt {attempt}: {delay}");
        }
    }

    #[test]
    fn pauses_for_a_server_that_is_gone_grow_further() {
        let start = Backoff { failures: 30, failing_since: Some(0), ..Backoff::default() };

        assert!(delays(start, 2 * DAY_MS, 1)[0] > 2 * MAX_DELAY_MS);
        assert!(delays(start, 8 * DAY_MS, 1)[0] > 12 * MAX_DELAY_MS);
    }

    #[test]
    fn what_the_server_asks_for_is_kept_within_limits() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::default();
        backoff.failed(0, Some(Duration::from_mins(10)), &mut rng);
        assert_eq!(backoff.retry_at, Some(10 * 60 * 1000));

        let mut backoff = Backoff::default();
        backoff.failed(0, Some(Duration::from_hours(1000)), &mut rng);
        assert_eq!(backoff.retry_at, Some(MAX_ASKED_MS));
    }

    #[test]
    fn who_is_heard_is_tried_at_once_but_not_at_every_word() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut stored =
            Backoff { failures: 9, failing_since: Some(0), retry_at: Some(9_000), failed_at: None };
        stored.heard();
        assert!(stored.is_due(1));

        let mut fresh = Backoff { failures: 9, failing_since: Some(0), ..Backoff::default() };
        fresh.failed(100_000, None, &mut rng);
        fresh.heard();
        assert!(!fresh.is_due(100_000 + MIN_DELAY_HEARD_MS - 1));
        assert!(fresh.is_due(100_000 + MIN_DELAY_HEARD_MS));
    }

    #[test]
    fn jitter_spreads_the_attempts() {
        let mut rng = StdRng::seed_from_u64(1);
        let times: std::collections::BTreeSet<_> = (0..50)
            .map(|_| {
                let mut backoff = Backoff { failures: 12, failing_since: Some(0), ..Backoff::default() };
                backoff.failed(0, None, &mut rng);
                backoff.retry_at
            })
            .collect();

        assert!(times.len() > 40);
    }
}
