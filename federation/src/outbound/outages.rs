//! Which servers did not answer lately: they are not asked again by each who would wait for them in vain.
//!
//! This is in memory only, and for a short while: it saves time, nothing depends on it. What must be sent in the end is for the
//! [`Sender`](super::Sender), which has pauses of its own in the database.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use ruma::{OwnedServerName, ServerName};
use tokio::time::Instant;

use super::response::RequestError;

/// How many servers are remembered, and for how long after the last failure.
const MAX_SERVERS: u64 = 10_000;
const KEEP: Duration = Duration::from_hours(1);
/// For how long a server is left alone after the first failure; then each time twice as long, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_mins(5);
/// The shortest pause for a server that speaks to us, and did not answer though it had spoken to us.
const PAUSE_THOUGH_HEARD: Duration = Duration::from_secs(10);
/// Who gives up waiting before has not learnt that the server is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Servers that did not answer lately. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Outages {
    known: Arc<Cache<OwnedServerName, Outage>>,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    /// How often in a row it did not answer.
    failures: u32,
    failed_at: Instant,
    /// Until when it is not asked.
    until: Instant,
    /// When it first made itself heard since it last answered.
    heard_at: Option<Instant>,
}

impl Outages {
    pub(super) fn new() -> Self {
        let known = Cache::builder().max_capacity(MAX_SERVERS).time_to_live(KEEP).build();
        Self { known: Arc::new(known) }
    }

    /// Whether a server did not answer lately, and it is not yet time to try again.
    pub(super) fn contains(&self, server: &ServerName) -> bool {
        self.known.get(server).is_some_and(|outage| Instant::now() < outage.until)
    }

    /// Somebody is about to ask a server, whatever is known of it.
    pub(super) fn attempt(&self, server: &ServerName) -> Attempt {
        Attempt { outages: self.clone(), server: server.to_owned(), begun_at: Instant::now(), is_over: false }
    }

    /// A server has made itself heard: the next question may come at once. One that speaks and does not listen is not asked at
    /// every word.
    pub(super) fn heard(&self, server: &ServerName) {
        let now = Instant::now();
        let Some(mut outage) = self.known.get(server).filter(|outage| now < outage.until) else { return };
        let soonest = if outage.heard_at.is_some() { outage.failed_at + PAUSE_THOUGH_HEARD } else { now };
        outage.until = outage.until.min(soonest);
        outage.heard_at.get_or_insert(now);
        self.known.insert(server.to_owned(), outage);
    }

    fn failed(&self, server: &ServerName, begun_at: Instant) {
        let now = Instant::now();
        let before = self.known.get(server);
        // Many who ask at the same time learn of one outage, and those from before it was heard know nothing newer.
        let is_known =
            |outage: Outage| now < outage.until || outage.heard_at.is_some_and(|heard| begun_at < heard);
        if before.is_some_and(is_known) {
            return;
        }
        let failures = before.map_or(0, |outage| outage.failures);
        let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LAST_PAUSE);
        let outage = Outage {
            failures: failures.saturating_add(1),
            failed_at: now,
            until: now + pause,
            heard_at: before.and_then(|outage| outage.heard_at),
        };
        self.known.insert(server.to_owned(), outage);
    }
}

/// A question to a server. When it is dropped before it has ended, somebody has given up waiting.
pub(super) struct Attempt {
    outages: Outages,
    server: OwnedServerName,
    begun_at: Instant,
    is_over: bool,
}

impl Attempt {
    /// The server has answered, or why it has not.
    pub(super) fn end<T>(mut self, answer: &Result<T, RequestError>) {
        self.is_over = true;
        match answer {
            Ok(_) => self.outages.known.invalidate(&self.server),
            Err(RequestError::Unreachable(_) | RequestError::Timeout) => {
                self.outages.failed(&self.server, self.begun_at);
            }
            Err(_) => {}
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_over && self.begun_at.elapsed() >= PATIENCE {
            self.outages.failed(&self.server, self.begun_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const ANSWER: Result<(), RequestError> = Ok(());

    fn server() -> &'static ServerName {
        "a.example".try_into().unwrap()
    }

    fn fail(outages: &Outages) {
        outages.attempt(server()).end::<()>(&Err(RequestError::Unreachable("gone".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end_with_an_answer() {
        let outages = Outages::new();
        for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
            fail(&outages);
            // Who asked at the same time tells nothing new.
            fail(&outages);
            advance(Duration::from_secs(pause).saturating_sub(Duration::from_millis(1))).await;
            assert!(outages.contains(server()), "{pause}");
            advance(Duration::from_millis(1)).await;
            assert!(!outages.contains(server()), "{pause}");
        }

        outages.attempt(server()).end(&ANSWER);

        fail(&outages);
        advance(FIRST_PAUSE).await;
        assert!(!outages.contains(server()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_heard_is_asked_at_once_but_not_at_every_word() {
        let outages = Outages::new();
        fail(&outages);
        let early = outages.attempt(server());
        advance(Duration::from_secs(1)).await;
        outages.heard(server());
        assert!(!outages.contains(server()));

        early.end::<()>(&Err(RequestError::Timeout));
        assert!(!outages.contains(server()), "that was before it was heard");

        for _ in 0..5 {
            fail(&outages);
            outages.heard(server());
            assert!(outages.contains(server()));
            advance(PAUSE_THOUGH_HEARD).await;
            outages.heard(server());
            assert!(!outages.contains(server()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_late_has_learnt_something() {
        let outages = Outages::new();
        let attempt = outages.attempt(server());
        advance(PATIENCE.saturating_sub(Duration::from_millis(1))).await;
        drop(attempt);
        assert!(!outages.contains(server()));

        let attempt = outages.attempt(server());
        advance(PATIENCE).await;
        drop(attempt);
        assert!(outages.contains(server()));
    }

    #[tokio::test(start_paused = true)]
    async fn errors_of_a_server_that_works_are_no_outage() {
        let outages = Outages::new();
        for error in [RequestError::Denied, RequestError::Broken("reset".to_owned()), RequestError::TooLarge]
        {
            outages.attempt(server()).end::<()>(&Err(error));
            assert!(!outages.contains(server()));
        }
    }
}
