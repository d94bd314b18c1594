//! A database, replicas on it, and people who act through them.

use std::sync::Arc;

use hs_model::{ids::UserNid, records::EventRecord};
use hs_rooms::{
    Intent, RoomActions, Sender,
    create::{CreateRoom, InitialState, Preset, RawObject},
    ports::{Profile, ProfileFuture, Profiles},
    send::SendError,
};
use hs_storage::rooms::RoomHead;
use hs_testkit::{TestDb, TestServer};
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId, RoomId, RoomVersionId, UserId};
use serde_json::{Value, json};

/// A database, and one replica on it to begin with.
pub(crate) struct Stage {
    pub(crate) server: TestServer,
    pub(crate) actions: RoomActions,
    pub(crate) names: Arc<Names>,
    /// Dropped last: the servers have connections to it.
    pub(crate) db: TestDb,
}

/// Display names that a test can change.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<Option<String>>);

impl Names {
    /// Gives everybody this name.
    pub(crate) fn set(&self, name: &str) {
        *self.0.lock() = Some(name.to_owned());
    }
}

impl Profiles for Names {
    fn profile<'a>(&'a self, _: UserNid, _: &'a UserId) -> ProfileFuture<'a> {
        let displayname = self.0.lock().clone();
        Box::pin(async { Ok(Profile { displayname, avatar_url: None }) })
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let db = TestDb::new().await;
        let names = Arc::new(Names::default());
        let server = TestServer::start(&db).await;
        let actions = RoomActions::new(server.rooms.clone(), names.clone());
        Self { server, actions, names, db }
    }

    /// Another replica on the same database.
    pub(crate) async fn replica(&self) -> (TestServer, RoomActions) {
        let server = TestServer::start(&self.db).await;
        let actions = RoomActions::new(server.rooms.clone(), self.names.clone());
        (server, actions)
    }

    pub(crate) async fn person(&self, name: &str) -> Sender {
        let user_id = UserId::parse(format!("@{name}:test.example")).expect("a valid id");
        let nid = self.server.store.intern_user(&user_id).await.expect("a working database");
        Sender { nid, user_id }
    }

    pub(crate) async fn public_room(&self, creator: &Sender) -> OwnedRoomId {
        self.room(creator, CreateRoom { preset: Preset::Public, ..CreateRoom::default() }).await
    }

    pub(crate) async fn room(&self, creator: &Sender, parameters: CreateRoom) -> OwnedRoomId {
        self.actions.create_room(creator.clone(), parameters).await.expect("a valid room")
    }

    /// The content of a state event; `Null` when there is none.
    pub(crate) async fn state(&self, room_id: &RoomId, event_type: &str, state_key: &str) -> Value {
        match self.state_event(room_id, event_type, state_key).await {
            Some(event) => serde_json::from_str::<Value>(&event.json).expect("an event")["content"].clone(),
            None => Value::Null,
        }
    }

    pub(crate) async fn state_event(
        &self,
        room_id: &RoomId,
        event_type: &str,
        state_key: &str,
    ) -> Option<Arc<EventRecord>> {
        let room = self.server.rooms.find(room_id).await.expect("a working database").expect("the room");
        let nid = room.read().state_event(event_type, state_key)?;
        let mut reader = self.server.store.reader().await.expect("a connection");
        reader.find_events(&[nid]).await.expect("a working database").remove(&nid)
    }

    /// Where the room stands according to the database.
    pub(crate) async fn head(&self, room_id: &RoomId) -> RoomHead {
        let mut reader = self.server.store.reader().await.expect("a connection");
        let row = reader.find_room(room_id).await.expect("a working database").expect("the room");
        reader.find_room_head(row.nid).await.expect("a working database").expect("its head")
    }
}

/// Says something, without a transaction id.
pub(crate) async fn say(
    actions: &RoomActions,
    room_id: &RoomId,
    sender: &Sender,
    body: &str,
) -> Result<OwnedEventId, SendError> {
    actions.send_message(room_id, sender.clone(), message(body), None).await
}

pub(crate) fn message(body: &str) -> Intent {
    Intent::message("m.room.message", json!({ "msgtype": "m.text", "body": body }).to_string())
}

pub(crate) fn initial(event_type: &str, content: &Value) -> InitialState {
    InitialState { event_type: event_type.to_owned(), state_key: String::new(), content: content.to_string() }
}

pub(crate) fn object(value: &Value) -> RawObject {
    serde_json::from_str(&value.to_string()).expect("an object")
}

pub(crate) const VERSIONS: [RoomVersionId; 12] = hs_room_rules::room_version::SUPPORTED;
