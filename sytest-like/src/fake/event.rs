//! An event and how one is made, honestly or not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::json::{Key, base64, content_hash, event_id, reference_hash};
use super::room::FakeRoom;
use super::version::Version;

/// An event as servers exchange it, and its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The id, which is not part of the event from version 3 on.
    pub id: String,
    /// The event.
    pub json: Value,
}

impl Event {
    /// An event that somebody sent.
    pub fn new(json: Value, version: Version) -> Self {
        Self { id: event_id(&json, version), json }
    }

    /// A string of the event, empty when it is not there.
    pub fn str(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or_default()
    }

    /// The type and state key, for a state event.
    pub fn slot(&self) -> Option<(String, String)> {
        let state_key = self.json["state_key"].as_str()?;
        Some((self.str("type").to_owned(), state_key.to_owned()))
    }

    /// The events that this one follows.
    pub fn prev_ids(&self) -> Vec<String> {
        ids(&self.json["prev_events"])
    }

    /// The events that allow this one.
    pub fn auth_ids(&self) -> Vec<String> {
        ids(&self.json["auth_events"])
    }

    /// The depth that it claims.
    pub fn depth(&self) -> i64 {
        self.json["depth"].as_i64().unwrap_or_default()
    }
}

/// Event ids, whether each stands alone or beside its hash.
fn ids(references: &Value) -> Vec<String> {
    let one = |reference: &Value| reference.as_str().or(reference[0].as_str()).map(str::to_owned);
    references.as_array().map(|list| list.iter().filter_map(one).collect()).unwrap_or_default()
}

/// Now, in milliseconds.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    since.as_millis() as i64
}

/// An event in the making. What is not said is what an honest server would do.
#[derive(Clone, Debug)]
#[must_use = "an event is made by `build`"]
pub struct Draft {
    room: FakeRoom,
    fields: Map<String, Value>,
    prev: Option<Vec<String>>,
    auth: Option<Vec<String>>,
    omitted: Vec<String>,
    signer: Option<(String, Key)>,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Signature,
    NoSignature,
    Hash,
}

impl Draft {
    pub(super) fn new(room: &FakeRoom, event_type: &str, sender: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("type".to_owned(), json!(event_type));
        fields.insert("sender".to_owned(), json!(sender));
        fields.insert("content".to_owned(), json!({}));
        fields.insert("origin_server_ts".to_owned(), json!(now_ms()));
        Self {
            room: room.clone(),
            fields,
            prev: None,
            auth: None,
            omitted: Vec::new(),
            signer: None,
            fault: None,
        }
    }

    /// The content.
    pub fn content(self, content: Value) -> Self {
        self.field("content", content)
    }

    /// Makes it a state event.
    pub fn state_key(self, state_key: &str) -> Self {
        self.field("state_key", json!(state_key))
    }

    /// Any field of the event, `depth` and `room_id` included. What is set here is signed.
    pub fn field(mut self, key: &str, value: Value) -> Self {
        self.fields.insert(key.to_owned(), value);
        self
    }

    /// Leaves out a field that events must have.
    pub fn without(mut self, key: &str) -> Self {
        self.omitted.push(key.to_owned());
        self
    }

    /// Follows these events instead of the newest ones of the room.
    pub fn prev(mut self, ids: &[&str]) -> Self {
        self.prev = Some(ids.iter().map(|id| (*id).to_owned()).collect());
        self
    }

    /// Names these events as those that allow it, instead of the right ones.
    pub fn auth(mut self, ids: &[&str]) -> Self {
        self.auth = Some(ids.iter().map(|id| (*id).to_owned()).collect());
        self
    }

    /// Redacts this event (in the place where the room version has it).
    pub fn redacts(mut self, id: &str) -> Self {
        if self.room.version().redacts_in_content() {
            let content = self.fields.entry("content").or_insert_with(|| json!({}));
            content["redacts"] = json!(id);
            self
        } else {
            self.field("redacts", json!(id))
        }
    }

    /// Signed by this server with this key instead of ours.
    pub fn signed_by(mut self, server: &str, key: &Key) -> Self {
        self.signer = Some((server.to_owned(), key.clone()));
        self
    }

    /// With a signature of another text.
    pub fn with_bad_signature(mut self) -> Self {
        self.fault = Some(Fault::Signature);
        self
    }

    /// With no signature at all.
    pub fn unsigned(mut self) -> Self {
        self.fault = Some(Fault::NoSignature);
        self
    }

    /// Says something else than was hashed: the signature is right and the content hash is not.
    pub fn with_bad_hash(mut self) -> Self {
        self.fault = Some(Fault::Hash);
        self
    }

    /// The event. It is known to nobody yet, not even to our own copy of the room: see [`FakeRoom::add`].
    pub fn build(self) -> Event {
        self.seal(self.template(), self.room.version())
    }

    /// The event without hash and signature, as `make_join` and its like answer it.
    pub fn template(&self) -> Value {
        let version = self.room.version();
        let mut fields = self.fields.clone();
        let prev = self.prev.clone().unwrap_or_else(|| self.room.extremities());
        let set_default = |fields: &mut Map<String, Value>, key: &str, value: Value| {
            fields.entry(key).or_insert(value);
        };
        let is_create = fields["type"] == "m.room.create";
        if !(is_create && version.has_hashed_room_ids()) {
            set_default(&mut fields, "room_id", json!(self.room.id()));
        }
        if version.has_chosen_ids() {
            set_default(&mut fields, "event_id", json!(chosen_id(self.room.server_name())));
            set_default(&mut fields, "origin", json!(self.room.server_name()));
        }
        set_default(&mut fields, "depth", json!(self.room.depth_after(&prev)));
        let auth = self.auth.clone().unwrap_or_else(|| self.room.auth_events_for(&fields, &prev));
        set_default(&mut fields, "prev_events", self.references(&prev));
        set_default(&mut fields, "auth_events", self.references(&auth));
        fields.retain(|key, _| !self.omitted.contains(key));
        Value::Object(fields)
    }

    /// Hashes and signs.
    fn seal(&self, mut json: Value, version: Version) -> Event {
        json["hashes"] = json!({"sha256": content_hash(&json)});
        let (server, key) =
            self.signer.clone().unwrap_or_else(|| (self.room.server_name().to_owned(), self.room.key()));
        match self.fault {
            Some(Fault::NoSignature) => json["signatures"] = json!({}),
            Some(Fault::Signature) => {
                json["signatures"] = json!({server: {&key.id: key.sign(&json!({"something": "else"}))}});
            }
            Some(Fault::Hash) => {
                key.add_event_signature(&mut json, &server, version);
                json["content"]["added"] = json!("after hashing");
            }
            None => key.add_event_signature(&mut json, &server, version),
        }
        Event::new(json, version)
    }

    fn references(&self, ids: &[String]) -> Value {
        let version = self.room.version();
        let one = |id: &String| {
            if !version.has_chosen_ids() {
                return json!(id);
            }
            let hash = self
                .room
                .event_with_id(id)
                .map_or_else(|| base64(&[0; 32]), |event| reference_hash(&event.json, version));
            json!([id, {"sha256": hash}])
        };
        ids.iter().map(one).collect()
    }
}

fn chosen_id(server: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("${}{}:{server}", now_ms(), NEXT.fetch_add(1, Ordering::Relaxed))
}
