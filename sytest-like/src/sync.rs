//! `/sync`: single requests, and a follower that waits for something with bounded long polls.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Request, Response, User};

/// How long a case waits for something to come down `/sync`.
const HEARD_WITHIN: Duration = Duration::from_secs(40);
const LONG_POLL: Duration = Duration::from_secs(5);

/// One `/sync` request; `.await` sends it and expects a 200. Without [`SyncRequest::timeout`] it answers at once.
#[derive(Debug)]
#[must_use = "a request is sent by `.await`"]
pub struct SyncRequest(Request);

impl SyncRequest {
    pub(crate) fn new(user: &User) -> Self {
        Self(user.get("/v3/sync"))
    }

    /// Continues from a `next_batch`.
    pub fn since(self, token: impl AsRef<str>) -> Self {
        self.query("since", token)
    }

    /// An inline filter.
    pub fn filter(self, filter: &Value) -> Self {
        self.query("filter", filter.to_string())
    }

    /// Waits for news this long.
    pub fn timeout(self, milliseconds: u64) -> Self {
        self.query("timeout", milliseconds.to_string())
    }

    /// Any other parameter: `full_state`, `set_presence`, `use_state_after`, a filter id.
    pub fn query(self, name: &str, value: impl AsRef<str>) -> Self {
        Self(self.0.query(name, value))
    }

    /// The plain request, for cases that expect an error.
    pub fn request(self) -> Request {
        self.0
    }
}

impl IntoFuture for SyncRequest {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.0.await.expect_ok() })
    }
}

/// Follows a user's sync stream.
#[derive(Debug)]
pub struct Syncer {
    user: User,
    filter: Option<Value>,
    /// The answer of the initial sync.
    pub initial: Response,
    /// The position that the next request continues from.
    pub since: String,
}

impl Syncer {
    pub(crate) async fn start(user: &User, filter: Option<Value>) -> Self {
        let mut request = user.sync();
        if let Some(filter) = &filter {
            request = request.filter(filter);
        }
        let initial = request.await;
        let since = initial.str("next_batch").to_owned();
        Self { user: user.clone(), filter, initial, since }
    }

    /// Follows from a known position, without an initial sync; `initial` is then the answer that came with it.
    pub fn from_answer(user: &User, answer: Response) -> Self {
        let since = answer.str("next_batch").to_owned();
        Self { user: user.clone(), filter: None, initial: answer, since }
    }

    /// One request that waits at most this long.
    pub async fn next(&mut self, timeout_ms: u64) -> Response {
        let mut request = self.user.sync().since(&self.since).timeout(timeout_ms);
        if let Some(filter) = &self.filter {
            request = request.filter(filter);
        }
        let answer = request.await;
        answer.str("next_batch").clone_into(&mut self.since);
        answer
    }

    /// Long-polls until an answer satisfies the condition, and returns that answer.
    pub async fn until(&mut self, what: &str, condition: impl Fn(&Response) -> bool) -> Response {
        self.until_some(what, |answer| condition(answer).then(|| answer.clone())).await
    }

    /// Long-polls until an answer has what the case looks for.
    pub async fn until_some<T>(&mut self, what: &str, mut look: impl FnMut(&Response) -> Option<T>) -> T {
        let deadline = Instant::now() + HEARD_WITHIN;
        let mut seen = Vec::new();
        loop {
            let answer = self.next(LONG_POLL.as_millis() as u64).await;
            if let Some(found) = look(&answer) {
                return found;
            }
            seen.push(String::from_utf8_lossy(&answer.body).into_owned());
            assert!(
                Instant::now() < deadline,
                "{}: {what}: not heard within {HEARD_WITHIN:?}; heard:\n{}",
                self.user.id,
                seen.join("\n")
            );
        }
    }

    /// Collects the timeline of a joined room until this event is in it.
    pub async fn until_event(&mut self, room_id: &str, event_id: &str) -> Vec<Value> {
        let mut events = Vec::new();
        self.until_some(&format!("{event_id} in {room_id}"), |answer| {
            events.extend(timeline(answer, room_id));
            events.iter().any(|event| event["event_id"] == event_id).then_some(())
        })
        .await;
        events
    }

    /// Long-polls until the room is in the section `join`, `invite`, `knock` or `leave`, and returns its entry.
    pub async fn until_room(&mut self, section: &str, room_id: &str) -> Value {
        self.until_some(&format!("{room_id} in {section}"), |answer| {
            answer.json["rooms"][section].get(room_id).cloned()
        })
        .await
    }
}

/// The timeline events of a joined room in an answer; empty when the room is not in it.
pub fn timeline(answer: &Response, room_id: &str) -> Vec<Value> {
    answer.json["rooms"]["join"][room_id]["timeline"]["events"].as_array().cloned().unwrap_or_default()
}

/// The event ids of [`timeline`].
pub fn timeline_ids(answer: &Response, room_id: &str) -> Vec<String> {
    timeline(answer, room_id)
        .iter()
        .filter_map(|event| event["event_id"].as_str().map(str::to_owned))
        .collect()
}
