//! A room as the fake server sees it, and what it does there.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::event::{Draft, Event};
use super::graph::{Graph, StateMap};
use super::json::Key;
use super::server::FakeServer;
use super::version::{ALL_VERSIONS, Version};
use crate::{Response, path};

/// A handle to a room that a [`FakeServer`] is in.
#[derive(Clone, Debug)]
pub struct FakeRoom {
    server: FakeServer,
    id: String,
    version: Version,
}

/// How a room of the fake server begins.
#[derive(Clone, Debug)]
#[must_use = "a room is made by `create`"]
pub struct NewRoom {
    server: FakeServer,
    version: Version,
    creator: String,
    join_rules: Value,
    visibility: String,
    power_levels: Option<Value>,
    create_content: Value,
}

impl NewRoom {
    pub(super) fn new(server: &FakeServer, version: &str, creator: &str) -> Self {
        Self {
            server: server.clone(),
            version: Version::parse(version),
            creator: creator.to_owned(),
            join_rules: json!({"join_rule": "public"}),
            visibility: "shared".to_owned(),
            power_levels: None,
            create_content: json!({}),
        }
    }

    /// The content of `m.room.join_rules`; public when nothing is said.
    pub fn join_rules(mut self, content: Value) -> Self {
        self.join_rules = content;
        self
    }

    /// The history visibility; `shared` when nothing is said.
    pub fn visibility(mut self, visibility: &str) -> Self {
        visibility.clone_into(&mut self.visibility);
        self
    }

    /// The content of `m.room.power_levels`; the creator has 100 when nothing is said.
    pub fn power_levels(mut self, content: Value) -> Self {
        self.power_levels = Some(content);
        self
    }

    /// More content for `m.room.create`, such as `m.federate` or `predecessor`.
    pub fn create_content(mut self, content: Value) -> Self {
        self.create_content = content;
        self
    }

    /// Makes the room; nobody else hears of it.
    pub fn create(self) -> FakeRoom {
        let Self { server, version, creator, .. } = &self;
        let room_id = if version.has_hashed_room_ids() {
            String::new()
        } else {
            format!("!{}:{}", crate::unique("fake"), server.name())
        };
        let room = FakeRoom { server: server.clone(), id: room_id.clone(), version: *version };
        server.put_graph(&room_id, Graph::new(*version));
        let mut content = self.create_content.clone();
        content["room_version"] = json!(version.name());
        if version.has_creator_field() {
            content["creator"] = json!(creator);
        }
        let create = room
            .event("m.room.create", creator)
            .state_key("")
            .content(content)
            .field("depth", json!(1))
            .build();
        let room = if version.has_hashed_room_ids() {
            let id = format!("!{}", &create.id[1..]);
            server.rename_graph(&room_id, &id);
            FakeRoom { id, ..room }
        } else {
            room
        };
        room.add(&create);
        room.begin(&self);
        room
    }
}

impl FakeRoom {
    /// The first events after the create event.
    fn begin(&self, new: &NewRoom) {
        let creator = new.creator.as_str();
        self.add_state("m.room.member", creator, creator, json!({"membership": "join"}));
        let mut levels = json!({"users": {}, "users_default": 0, "events_default": 0, "state_default": 50,
            "ban": 50, "kick": 50, "redact": 50, "invite": 0, "events": {}});
        if !self.version.has_hashed_room_ids() {
            levels["users"][creator] = json!(100);
        }
        let levels = new.power_levels.clone().unwrap_or(levels);
        self.add_state("m.room.power_levels", "", creator, levels);
        self.add_state("m.room.join_rules", "", creator, new.join_rules.clone());
        let visibility = json!({"history_visibility": new.visibility});
        self.add_state("m.room.history_visibility", "", creator, visibility);
    }

    /// The room id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The room version.
    pub fn version(&self) -> Version {
        self.version
    }

    pub(super) fn server_name(&self) -> &str {
        self.server.name()
    }

    pub(super) fn key(&self) -> Key {
        self.server.key()
    }

    fn with<T>(&self, read: impl FnOnce(&mut Graph) -> T) -> T {
        self.server.with_graph(&self.id, read).expect("the fake server knows its rooms")
    }

    /// Starts an event after the newest ones that we know.
    pub fn event(&self, event_type: &str, sender: &str) -> Draft {
        Draft::new(self, event_type, sender)
    }

    /// Starts a text message.
    pub fn message(&self, sender: &str, body: &str) -> Draft {
        self.event("m.room.message", sender).content(json!({"msgtype": "m.text", "body": body}))
    }

    /// Starts a member event.
    pub fn member(&self, sender: &str, target: &str, membership: &str) -> Draft {
        self.event("m.room.member", sender).state_key(target).content(json!({"membership": membership}))
    }

    /// Puts the event into our copy of the room: what we build and answer from here on counts it in.
    pub fn add(&self, event: &Event) {
        self.with(|graph| graph.add(event.clone()));
    }

    /// Knows the event, so that it can be asked for, without building on it.
    pub fn keep(&self, event: &Event) {
        self.with(|graph| graph.keep(event.clone()));
    }

    /// Puts the event at its place without building on it: a branch that others hear of.
    pub fn add_aside(&self, event: &Event) {
        self.with(|graph| {
            let before = graph.state_after(&event.prev_ids());
            graph.add_at(event.clone(), before);
        });
    }

    /// Builds a state event and adds it to our copy; nobody hears of it.
    pub fn add_state(&self, event_type: &str, state_key: &str, sender: &str, content: Value) -> Event {
        let event = self.event(event_type, sender).state_key(state_key).content(content).build();
        self.add(&event);
        event
    }

    /// Builds a message and adds it to our copy; nobody hears of it.
    pub fn add_message(&self, sender: &str, body: &str) -> Event {
        let event = self.message(sender, body).build();
        self.add(&event);
        event
    }

    /// Does not give this event away any more, whoever asks and in whatever way.
    pub fn withhold(&self, event: &Event) {
        self.with(|graph| graph.withhold(&event.id));
    }

    /// Gives it away again.
    pub fn give_away(&self, event: &Event) {
        self.with(|graph| graph.give_away(&event.id));
    }

    /// The newest events that we know.
    pub fn extremities(&self) -> Vec<String> {
        self.with(|graph| graph.extremities.iter().cloned().collect())
    }

    /// Builds on these events from here on.
    pub fn set_extremities(&self, ids: &[&str]) {
        self.with(|graph| graph.extremities = ids.iter().map(|id| (*id).to_owned()).collect());
    }

    pub(super) fn depth_after(&self, prev: &[String]) -> i64 {
        self.with(|graph| prev.iter().map(|id| graph.depth(id)).max().unwrap_or_default()) + 1
    }

    pub(super) fn auth_events_for(
        &self,
        fields: &serde_json::Map<String, Value>,
        prev: &[String],
    ) -> Vec<String> {
        self.with(|graph| graph.auth_events_for(fields, prev))
    }

    /// An event that we know.
    pub fn event_with_id(&self, id: &str) -> Option<Event> {
        self.with(|graph| graph.event(id).cloned())
    }

    /// The ids of the events that we know the place of, as they came.
    pub fn event_ids(&self) -> Vec<String> {
        self.with(|graph| graph.order.clone())
    }

    /// The state after the newest events.
    pub fn state(&self) -> Arc<StateMap> {
        self.with(|graph| graph.current_state())
    }

    /// The event that holds a slot of the current state.
    pub fn state_event(&self, event_type: &str, state_key: &str) -> Option<Event> {
        let id = self.state().get(&(event_type.to_owned(), state_key.to_owned())).cloned()?;
        self.event_with_id(&id)
    }

    /// The other servers with joined members, as far as we know.
    pub fn other_servers(&self) -> Vec<String> {
        let own = self.server.name();
        self.with(|graph| graph.servers()).into_iter().filter(|server| server != own).collect()
    }

    /// Adds the event to our copy and sends it to all other servers of the room, which must accept it.
    pub async fn send(&self, event: &Event) {
        self.add(event);
        for server in self.other_servers() {
            self.send_to(&server, event).await;
        }
    }

    /// Sends the event to one server, which must accept it.
    pub async fn send_to(&self, destination: &str, event: &Event) {
        let answer = self.server.send_pdus(destination, &[event]).await;
        let error = answer.get("pdus").and_then(|pdus| pdus.get(&event.id)).and_then(|pdu| pdu.get("error"));
        assert!(error.is_none(), "{answer}: expected {} to be accepted", event.id);
    }

    /// Sends a text message to all other servers of the room.
    pub async fn say(&self, sender: &str, body: &str) -> Event {
        let event = self.message(sender, body).build();
        self.send(&event).await;
        event
    }

    /// Changes a piece of state and tells all other servers of the room.
    pub async fn set_state(&self, event_type: &str, state_key: &str, sender: &str, content: Value) -> Event {
        let event = self.event(event_type, sender).state_key(state_key).content(content).build();
        self.send(&event).await;
        event
    }
}

/// Becoming a member of rooms on other servers.
impl FakeServer {
    /// Joins a room through another server, as honest servers do.
    pub async fn join(&self, via: &str, room_id: &str, user_id: &str) -> FakeRoom {
        let (template, version) = self.make(via, "join", room_id, user_id).await;
        let join = self.seal_template(template, version);
        self.finish_join(via, room_id, version, &join).await
    }

    /// Asks for a template: `make_join`, `make_leave` or `make_knock`. The caller judges the answer.
    pub async fn try_make(&self, via: &str, what: &str, room_id: &str, user_id: &str) -> Response {
        let mut path = path!("/_matrix/federation/v1/make_{}/{}/{}", what, room_id, user_id);
        if what != "leave" {
            for (index, version) in ALL_VERSIONS.iter().enumerate() {
                path.push_str(if index == 0 { "?ver=" } else { "&ver=" });
                path.push_str(version);
            }
        }
        self.request(Method::GET, via, &path).await
    }

    /// A template and the version of the room.
    pub async fn make(&self, via: &str, what: &str, room_id: &str, user_id: &str) -> (Value, Version) {
        let answer = self.try_make(via, what, room_id, user_id).await.expect_ok();
        let version = answer.get("room_version").and_then(Value::as_str).unwrap_or("1");
        (answer["event"].clone(), Version::parse(version))
    }

    /// Makes an event out of a template.
    pub fn seal_template(&self, mut template: Value, version: Version) -> Event {
        template["origin_server_ts"] = json!(super::event::now_ms());
        if version.has_chosen_ids() {
            template["event_id"] = json!(format!("${}:{}", crate::unique("join"), self.name()));
            template["origin"] = json!(self.name());
        } else if let Some(fields) = template.as_object_mut() {
            fields.remove("event_id");
        }
        template["hashes"] = json!({"sha256": super::json::content_hash(&template)});
        self.key().add_event_signature(&mut template, self.name(), version);
        Event::new(template, version)
    }

    /// `send_join`, `send_leave` or `send_knock`; the caller judges the answer.
    pub async fn try_submit(&self, via: &str, what: &str, room_id: &str, event: &Event) -> Response {
        let edition = if what == "knock" { "v1" } else { "v2" };
        let path = path!("/_matrix/federation/{}/send_{}/{}/{}", edition, what, room_id, event.id);
        self.request(Method::PUT, via, &path).json(event.json.clone()).await
    }

    /// Submits a join and learns the room from the answer.
    pub async fn finish_join(&self, via: &str, room_id: &str, version: Version, join: &Event) -> FakeRoom {
        let answer = self.try_submit(via, "join", room_id, join).await.expect_ok();
        let mut graph =
            self.with_graph(room_id, |graph| graph.clone()).unwrap_or_else(|| Graph::new(version));
        let mut state = StateMap::new();
        for json in answer.array("state") {
            let event = Event::new(json.clone(), version);
            state.extend(event.slot().map(|slot| (slot, event.id.clone())));
            graph.keep(event);
        }
        for json in answer.array("auth_chain") {
            graph.keep(Event::new(json.clone(), version));
        }
        // The resident server may have signed it too.
        let joined =
            answer.get("event").map_or_else(|| join.clone(), |json| Event::new(json.clone(), version));
        assert_eq!(joined.id, join.id, "{answer}: the event that we sent was answered");
        graph.add_at(joined.clone(), Arc::new(state));
        graph.extremities = [joined.id].into();
        self.put_graph(room_id, graph);
        self.room(room_id)
    }

    /// The room with this id, which we must know.
    #[track_caller]
    pub fn room(&self, room_id: &str) -> FakeRoom {
        let version = self
            .with_graph(room_id, |graph| graph.version)
            .unwrap_or_else(|| panic!("the fake server does not know {room_id}"));
        FakeRoom { server: self.clone(), id: room_id.to_owned(), version }
    }

    /// Starts a room of our own; the creator is one of our users.
    pub fn new_room(&self, version: &str, creator: &str) -> NewRoom {
        NewRoom::new(self, version, creator)
    }

    /// A public room of our own.
    pub fn create_room(&self, version: &str, creator: &str) -> FakeRoom {
        self.new_room(version, creator).create()
    }
}
