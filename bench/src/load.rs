//! Drives sessions against the server and collects latencies.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::join_all;
use tokio::task::coop::unconstrained;

/// After this many failures a load gives up: it would measure the error path.
const MAX_ERRORS: usize = 200;

/// How long after the end of a load the last answers may come.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// When a load ends: after so many operations or so much time, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) count: usize,
    pub(crate) time: Duration,
}

/// What a load did.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) latencies: Latencies,
    pub(crate) errors: usize,
    pub(crate) first_error: Option<String>,
    pub(crate) elapsed: Duration,
}

impl Load {
    /// Operations that succeeded.
    pub(crate) fn done(&self) -> usize {
        self.latencies.0.len()
    }
}

/// Latencies in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn push(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    /// The given per mille of the latencies are at or below the returned number of milliseconds.
    pub(crate) fn per_mille_ms(&mut self, per_mille: usize) -> Option<f64> {
        if self.0.is_empty() {
            return None;
        }
        let rank = (self.0.len() * per_mille).div_ceil(1000).clamp(1, self.0.len()) - 1;
        let (_, value, _) = self.0.select_nth_unstable(rank);
        Some(f64::from(*value) / 1000.0)
    }
}

/// Every session sends its next request as soon as it has the answer to the last, until the limit.
///
/// The operation gets a number that no other call of the same load gets.
pub(crate) async fn closed_loop<S>(
    sessions: &mut [S],
    limit: Limit,
    operation: impl AsyncFn(&mut S, usize) -> Result<()>,
) -> Load {
    let next = Cell::new(0);
    let load = RefCell::new(Load::default());
    let start = Instant::now();
    let end = start + limit.time;
    let workers = sessions.iter_mut().map(|session| async {
        loop {
            let number = next.get();
            let begun = Instant::now();
            if number >= limit.count || begun >= end || load.borrow().errors >= MAX_ERRORS {
                break;
            }
            next.set(number + 1);
            let outcome = operation(session, number).await;
            let mut load = load.borrow_mut();
            match outcome {
                Ok(()) => load.latencies.push(begun.elapsed()),
                Err(error) => {
                    load.errors += 1;
                    load.first_error.get_or_insert_with(|| format!("{error:#}"));
                }
            }
        }
    });
    let all = unconstrained(join_all(workers));
    let hangs = tokio::time::timeout_at((end + ANSWER_TIMEOUT).into(), all).await.is_err();
    let mut load = load.into_inner();
    if hangs {
        load.errors += 1;
        load.first_error.get_or_insert_with(|| format!("no answer within {ANSWER_TIMEOUT:?} of the end"));
    }
    load.elapsed = start.elapsed();
    load
}

/// As [`closed_loop`], but every item is used for one operation only.
pub(crate) async fn each_once<S>(
    items: &mut [S],
    at_once: usize,
    limit: Limit,
    operation: impl AsyncFn(&mut S) -> Result<()>,
) -> Load {
    let limit = Limit { count: limit.count.min(items.len()), ..limit };
    let items = RefCell::new(items.iter_mut());
    closed_loop(&mut vec![(); at_once], limit, async |(), _| {
        let item = items.borrow_mut().next();
        match item {
            Some(item) => operation(item).await,
            None => Ok(()),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.per_mille_ms(500), None);
        for ms in (1..=100).rev() {
            latencies.push(Duration::from_millis(ms));
        }
        assert_eq!(latencies.per_mille_ms(500), Some(50.0));
        assert_eq!(latencies.per_mille_ms(990), Some(99.0));
        assert_eq!(latencies.per_mille_ms(1000), Some(100.0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn each_item_is_used_once() {
        let mut items = vec![0; 20];
        let limit = Limit { count: 1000, time: Duration::from_mins(1) };
        let load = each_once(&mut items, 3, limit, async |item| {
            tokio::task::yield_now().await;
            *item += 1;
            Ok(())
        })
        .await;
        assert_eq!((items, load.done()), (vec![1; 20], 20));
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn unanswered_request_ends_the_load() {
        let limit = Limit { count: 1, time: Duration::from_secs(1) };
        let load = closed_loop(&mut [()], limit, async |(), _| std::future::pending().await).await;
        assert_eq!((load.done(), load.errors), (0, 1));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn every_operation_runs_once_and_failures_are_counted() {
        let seen = RefCell::new(Vec::new());
        let limit = Limit { count: 50, time: Duration::from_mins(1) };
        let load = closed_loop(&mut [(), (), ()], limit, async |(), number| {
            seen.borrow_mut().push(number);
            tokio::task::yield_now().await;
            anyhow::ensure!(number % 10 != 0, "number {number}");
            Ok(())
        })
        .await;
        let mut seen = seen.into_inner();
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
        assert_eq!((load.done(), load.errors), (45, 5));
        assert_eq!(load.first_error.as_deref(), Some("number 0"));
    }
}
