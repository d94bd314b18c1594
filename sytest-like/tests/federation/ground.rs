//! What the federation cases stand on.

use sytest_like::fake::{ALL_VERSIONS, FakeRoom};
use sytest_like::{FakeServer, Response, Server, User, Value, json, path, timeline};

/// The server under test and a scripted one.
pub(super) async fn with_fake() -> (Server, FakeServer) {
    tokio::join!(Server::federated().start(), FakeServer::start())
}

/// A public room of Alice on the server under test, which a user of the scripted server has joined.
pub(super) struct Shared {
    pub(super) server: Server,
    pub(super) fake: FakeServer,
    pub(super) alice: User,
    pub(super) bob: String,
    pub(super) room: FakeRoom,
}

impl Shared {
    /// In a room of the default version.
    pub(super) async fn start() -> Self {
        Self::of_version("12").await
    }

    /// In a room of this version.
    pub(super) async fn of_version(version: &str) -> Self {
        let (server, fake) = with_fake().await;
        let alice = server.register("alice").await;
        Self::over(server, fake, alice, version).await
    }

    /// The same servers and Alice in another room.
    pub(super) async fn another(&self, version: &str) -> Self {
        Self::over(self.server.clone(), self.fake.clone(), self.alice.clone(), version).await
    }

    async fn over(server: Server, fake: FakeServer, alice: User, version: &str) -> Self {
        let room_id = public_room(&alice, version).await;
        let bob = fake.user("bob");
        let room = fake.join(server.name(), &room_id, &bob).await;
        Self { server, fake, alice, bob, room }
    }

    pub(super) fn room_id(&self) -> &str {
        self.room.id()
    }

    /// Alice sets a piece of state, and the scripted server hears of it.
    pub(super) async fn set_and_hear(&self, event_type: &str, content: Value) -> String {
        let id = self.alice.set_state(self.room_id(), event_type, "", content).await;
        self.fake.wait_for_event(self.room_id(), &id).await;
        id
    }

    /// Alice gives Bob this much power, and the scripted server hears of it.
    pub(super) async fn promote_bob(&self, level: i64) -> String {
        let levels = self.alice.get_state(self.room_id(), "m.room.power_levels", "").await.expect_ok();
        let mut levels = levels.json;
        levels["users"][&self.bob] = json!(level);
        self.set_and_hear("m.room.power_levels", levels).await
    }

    /// The bodies of all messages in the room, as a user reads them going back.
    pub(super) async fn read_back(&self, user: &User) -> Vec<String> {
        read_back(user, self.room_id()).await
    }

    /// Waits until Alice hears of the event, and returns what she heard of the room on the way.
    pub(super) async fn alice_hears(&self, event_id: &str) -> Vec<Value> {
        hears(&self.alice, self.room_id(), event_id).await
    }
}

/// Waits until a user hears of an event, and returns what they heard of the room on the way.
pub(super) async fn hears(user: &User, room_id: &str, event_id: &str) -> Vec<Value> {
    let filter = json!({"room": {"timeline": {"limit": 100}}});
    let mut syncer = user.syncer_with_filter(filter).await;
    let mut events = timeline(&syncer.initial, room_id);
    if !events.iter().any(|event| event["event_id"] == event_id) {
        events.extend(syncer.until_event(room_id, event_id).await);
    }
    events
}

/// The bodies of all messages in a room, as a user reads them going back; the newest first.
pub(super) async fn read_back(user: &User, room_id: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    let mut from: Option<String> = None;
    loop {
        let mut request =
            user.get(&path!("/v3/rooms/{}/messages", room_id)).query("dir", "b").query("limit", "50");
        if let Some(from) = &from {
            request = request.query("from", from);
        }
        let page = request.await.expect_ok();
        let texts = page.array("chunk").iter().filter_map(|event| event["content"]["body"].as_str());
        bodies.extend(texts.map(str::to_owned));
        match page.get("end").and_then(Value::as_str) {
            Some(end) if Some(end) != from.as_deref() => from = Some(end.to_owned()),
            _ => return bodies,
        }
    }
}

/// A user asks to join a room through servers.
pub(super) async fn join_via(user: &User, room: &str, via: &[&str]) -> Response {
    let mut path = path!("/_matrix/client/v3/join/{}", room);
    for (index, server) in via.iter().enumerate() {
        path.push_str(if index == 0 { "?via=" } else { "&via=" });
        path.push_str(server);
    }
    user.post(&path, json!({})).await
}

/// A public room of this version.
pub(super) async fn public_room(owner: &User, version: &str) -> String {
    owner.create_room(json!({"preset": "public_chat", "room_version": version})).await
}

/// All room versions, for cases that hold in each.
pub(super) fn versions() -> [&'static str; 12] {
    ALL_VERSIONS
}

/// The ids of events as clients see them.
pub(super) fn ids_of(events: &[Value]) -> Vec<String> {
    events.iter().filter_map(|event| event["event_id"].as_str().map(str::to_owned)).collect()
}
