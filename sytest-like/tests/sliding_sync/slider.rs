//! A client of sliding sync.

use std::time::{Duration, Instant};

use sytest_like::{Request, Response, Server, User, Value, json};

pub(super) const UNSTABLE: &str = "/unstable/org.matrix.simplified_msc3575/sync";
pub(super) const V4: &str = "/v4/sync";

/// How long a case waits for something to come.
const HEARD_WITHIN: Duration = Duration::from_secs(40);

/// One connection in the unstable dialect.
#[derive(Clone, Debug)]
pub(super) struct Slider {
    pub(super) user: User,
    /// The body of each request.
    pub(super) body: Value,
    /// Where the next request goes on.
    pub(super) pos: Option<String>,
}

impl Slider {
    pub(super) fn new(user: &User, body: Value) -> Self {
        Self { user: user.clone(), body, pos: None }
    }

    /// A connection with one list of this range, timelines of this length, and the room's name as state.
    pub(super) fn listing(user: &User, last: u64, timeline: u64) -> Self {
        Self::new(user, json!({"lists": {"all": list(last, timeline)}}))
    }

    /// The request, not sent yet.
    pub(super) fn request(&self, timeout_ms: u64) -> Request {
        let request = self.user.post(UNSTABLE, self.body.clone()).query("timeout", timeout_ms.to_string());
        match &self.pos {
            Some(pos) => request.query("pos", pos),
            None => request,
        }
    }

    /// One request that is answered at once. The answer's position is not taken over.
    pub(super) async fn peek(&self) -> Response {
        self.request(0).await.expect_ok()
    }

    /// One request that waits at most this long.
    pub(super) async fn next(&mut self, timeout_ms: u64) -> Response {
        let answer = self.request(timeout_ms).await.expect_ok();
        self.pos = Some(answer.str("pos").to_owned());
        answer
    }

    /// Long-polls until the room is in an answer, and returns its entry.
    pub(super) async fn until_room(&mut self, room: &str) -> Value {
        self.until(room, |answer| answer.json["rooms"].get(room).cloned()).await
    }

    /// Long-polls until an answer has what the case looks for.
    pub(super) async fn until<T>(&mut self, what: &str, look: impl Fn(&Response) -> Option<T>) -> T {
        let deadline = Instant::now() + HEARD_WITHIN;
        loop {
            let answer = self.next(5_000).await;
            if let Some(found) = look(&answer) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}: not heard; last {answer}");
        }
    }

    /// The same connection at another replica.
    pub(super) fn at(&self, server: &Server) -> Self {
        Self { user: server.as_seen_here(&self.user), ..self.clone() }
    }
}

/// A list from the most recent room to this one.
pub(super) fn list(last: u64, timeline: u64) -> Value {
    json!({
        "ranges": [[0, last]],
        "timeline_limit": timeline,
        "required_state": [["m.room.name", ""]],
    })
}

/// The entry of a room; its absence fails the case.
#[track_caller]
pub(super) fn room<'a>(answer: &'a Response, id: &str) -> &'a Value {
    answer.json["rooms"].get(id).unwrap_or_else(|| panic!("{answer}: {id} is not there"))
}

/// Whether an answer has the room.
pub(super) fn has(answer: &Response, id: &str) -> bool {
    answer.json["rooms"].get(id).is_some()
}

/// How many rooms are in an answer.
pub(super) fn count(answer: &Response) -> usize {
    answer.json["rooms"].as_object().map_or(0, serde_json::Map::len)
}

/// The ids of an entry's timeline, in order.
pub(super) fn timeline(entry: &Value) -> Vec<String> {
    let events = entry["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().map(|event| event["event_id"].as_str().expect("an event has an id").to_owned()).collect()
}

/// The types and state keys of an entry's state, sorted.
pub(super) fn state(entry: &Value) -> Vec<(String, String)> {
    let events = entry["required_state"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut slots: Vec<_> = events
        .iter()
        .map(|event| {
            let text = |key: &str| event[key].as_str().expect("a state event").to_owned();
            (text("type"), text("state_key"))
        })
        .collect();
    slots.sort();
    slots
}

/// A slot as [`state`] names it.
pub(super) fn slot(event_type: &str, state_key: &str) -> (String, String) {
    (event_type.to_owned(), state_key.to_owned())
}

/// A room with a name.
pub(super) async fn named(user: &User, name: &str) -> String {
    user.create_room(json!({"preset": "public_chat", "name": name})).await
}
