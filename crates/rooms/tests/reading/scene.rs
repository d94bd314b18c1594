//! A room and the people around it, in a few words.

use std::{collections::HashMap, sync::Arc};

use hs_model::records::EventRecord;
use hs_rooms::{
    Intent, Room, Sender, WriteRequest,
    client_event::RoomId,
    client_event::{Format, Viewer},
    event_filter::EventFilter,
    new_room::NewRoomRequest,
};
use hs_testkit::{TestDb, TestServer};
use ruma::{OwnedEventId, RoomVersionId, UserId};
use serde_json::{Value, json};

/// A room made by Alice, to whom everybody else comes.
pub(crate) struct Scene {
    pub(crate) server: TestServer,
    pub(crate) room: Arc<Room>,
    people: HashMap<&'static str, Sender>,
    /// Dropped last: the server has connections to it.
    pub(crate) db: TestDb,
}

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

impl Scene {
    /// A public room of Alice's with this history visibility; `None` for a room that says nothing about it.
    pub(crate) async fn new(history_visibility: Option<&str>) -> Self {
        let db = TestDb::new().await;
        let server = TestServer::start(&db).await;
        let mut people = HashMap::new();
        for name in PEOPLE {
            let user_id = UserId::parse(format!("@{name}:test.example")).expect("a valid id");
            let nid = server.store.intern_user(&user_id).await.expect("a working database");
            people.insert(name, Sender { nid, user_id });
        }
        let room = make_room(&server, &people["alice"], history_visibility).await;
        Self { server, room, people, db }
    }

    /// Goes on in another room of Alice's.
    pub(crate) async fn make_room(&mut self, history_visibility: Option<&str>) {
        self.room = make_room(&self.server, self.sender("alice"), history_visibility).await;
    }

    pub(crate) fn sender(&self, name: &str) -> &Sender {
        &self.people[name]
    }

    pub(crate) fn viewer(&self, name: &str) -> Viewer<'_> {
        let sender = self.sender(name);
        Viewer { user: sender.nid, user_id: &sender.user_id, device: None, format: Format::Client }
    }

    pub(crate) async fn write(&self, name: &str, intent: Intent) -> OwnedEventId {
        let request = WriteRequest::one(self.sender(name).clone(), intent);
        let written = self.server.rooms.write(&self.room, request).await.expect("an allowed event");
        written[0].event_id().clone()
    }

    /// Says something and returns the event's id.
    pub(crate) async fn say(&self, name: &str, body: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": body }).to_string();
        self.write(name, Intent::message("m.room.message", content)).await
    }

    /// Sends a message that relates to another event.
    pub(crate) async fn relate(&self, name: &str, rel_type: &str, parent: &OwnedEventId) -> OwnedEventId {
        let mut content = json!({ "msgtype": "m.text", "body": rel_type, "m.relates_to": { "rel_type": rel_type, "event_id": parent } });
        if rel_type == "m.replace" {
            content["m.new_content"] = json!({ "msgtype": "m.text", "body": "new" });
        }
        if rel_type == "m.annotation" {
            content["m.relates_to"]["key"] = json!("+1");
        }
        self.write(name, Intent::message("m.room.message", content.to_string())).await
    }

    /// Sets somebody's membership.
    pub(crate) async fn member(&self, actor: &str, target: &str, membership: &str) -> OwnedEventId {
        let target = self.sender(target).user_id.clone();
        let content = json!({ "membership": membership }).to_string();
        self.write(actor, Intent::state("m.room.member", target.as_str(), content)).await
    }

    pub(crate) async fn join(&self, name: &str) -> OwnedEventId {
        self.member(name, name, "join").await
    }

    pub(crate) async fn leave(&self, name: &str) -> OwnedEventId {
        self.member(name, name, "leave").await
    }

    pub(crate) async fn set_history_visibility(&self, setting: &str) -> OwnedEventId {
        self.write("alice", history_visibility_of(setting)).await
    }

    pub(crate) async fn redact(&self, name: &str, target: &OwnedEventId) -> OwnedEventId {
        let content = json!({ "redacts": target }).to_string();
        let intent = Intent { redacts: Some(target.clone()), ..Intent::message("m.room.redaction", content) };
        self.write(name, intent).await
    }

    pub(crate) async fn event(&self, event_id: &OwnedEventId) -> Arc<EventRecord> {
        let mut reader = self.server.store.reader().await.expect("a connection");
        reader.find_event(event_id).await.expect("a working database").expect("a stored event")
    }

    pub(crate) async fn can_see(&self, name: &str, event_id: &OwnedEventId) -> bool {
        let event = self.event(event_id).await;
        let rooms = &self.server.rooms;
        rooms.is_visible(&self.room, &event, &self.viewer(name)).await.expect("a working database")
    }

    /// An event as somebody sees it.
    pub(crate) async fn shown(&self, name: &str, event_id: &OwnedEventId) -> Value {
        let event = self.event(event_id).await;
        let rendered = self
            .server
            .rooms
            .render(&self.room, &[event], &self.viewer(name), RoomId::Included)
            .await
            .expect("a working database");
        serde_json::from_str(rendered[0].get()).expect("valid JSON")
    }

    /// The same server after a restart: nothing in memory.
    pub(crate) async fn restarted(self) -> Self {
        let server = TestServer::start(&self.db).await;
        let room =
            server.rooms.find(&self.room.room_id).await.expect("a working database").expect("the room");
        Self { server, room, people: self.people, db: self.db }
    }
}

async fn make_room(server: &TestServer, alice: &Sender, history_visibility: Option<&str>) -> Arc<Room> {
    let mut intents = vec![
        Intent::state("m.room.create", "", r#"{"room_version":"11"}"#),
        Intent::state("m.room.member", alice.user_id.as_str(), r#"{"membership":"join"}"#),
        Intent::state("m.room.join_rules", "", r#"{"join_rule":"public"}"#),
    ];
    intents.extend(history_visibility.map(history_visibility_of));
    let request = NewRoomRequest {
        creator: alice.clone(),
        version: RoomVersionId::V11,
        intents,
        is_published: false,
        alias: None,
    };
    server.rooms.create(request).await.expect("a valid room")
}

fn history_visibility_of(setting: &str) -> Intent {
    Intent::state("m.room.history_visibility", "", json!({ "history_visibility": setting }).to_string())
}

pub(crate) fn filter(json: &Value) -> EventFilter {
    EventFilter::parse(&json.to_string()).expect("a valid filter")
}
