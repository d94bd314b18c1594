//! A user on a device, as a client sees it.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use serde_json::{Value, json};

use crate::sync::SyncRequest;
use crate::{Request, Response, Server, Syncer, path};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A name that nobody else in this run has and that carries the case's name into the server's log.
pub fn unique(name: &str) -> String {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let thread = std::thread::current();
    let case = thread.name().and_then(|name| name.rsplit("::").next()).unwrap_or("task");
    format!("{name}-{case}-{number}")
}

/// A text of letters and digits that no database can make shorter.
pub fn incompressible(length: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = 1_u64;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(LETTERS[(state >> 58) as usize])
    });
    letters.take(length).collect()
}

/// An access token and the user and device it belongs to.
#[derive(Clone, Debug)]
pub struct User {
    /// The server or replica that this handle talks to.
    pub server: Server,
    /// `@localpart:server`.
    pub id: String,
    /// The device of the access token.
    pub device_id: String,
    /// The access token that every request of this handle carries.
    pub access_token: String,
    /// The password that the account was made with.
    pub password: String,
}

/// Requests, with the user's access token.
impl User {
    /// The user that a login or a registration answered with.
    #[track_caller]
    pub fn from_login(server: &Server, answer: &Response, password: &str) -> Self {
        Self {
            server: server.clone(),
            id: answer.str("user_id").to_owned(),
            device_id: answer.str("device_id").to_owned(),
            access_token: answer.str("access_token").to_owned(),
            password: password.to_owned(),
        }
    }

    /// The part of the user id between `@` and `:`.
    pub fn localpart(&self) -> &str {
        self.id[1..].split(':').next().unwrap_or_default()
    }

    /// A request as this user.
    pub fn request(&self, method: Method, path: &str) -> Request {
        self.server.request(method, path).token(&self.access_token)
    }

    /// GET as this user.
    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    /// PUT as this user.
    pub fn put(&self, path: &str, body: Value) -> Request {
        self.request(Method::PUT, path).json(&body)
    }

    /// POST as this user.
    pub fn post(&self, path: &str, body: Value) -> Request {
        self.request(Method::POST, path).json(&body)
    }

    /// DELETE as this user, without a body.
    pub fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }

    /// Logs in once more with the password: the same user on another device.
    pub async fn login(&self) -> Self {
        let answer = self.server.post("/v3/login", self.password_login()).await.expect_ok();
        Self::from_login(&self.server, &answer, &self.password)
    }

    /// The body of a password login as this user.
    pub fn password_login(&self) -> Value {
        json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": self.localpart()},
            "password": self.password,
        })
    }

    /// The `auth` object that proves the password in a user-interactive session.
    pub fn password_auth(&self, session: &str) -> Value {
        json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": self.id},
            "password": self.password,
            "session": session,
        })
    }

    /// Sends a request that wants user-interactive authentication: once without, and again with the password. The
    /// answer is that of the second request.
    pub async fn with_password(&self, method: Method, path: &str, mut body: Value) -> Response {
        let challenge = self.request(method.clone(), path).json(&body).await.expect_status(401);
        body["auth"] = self.password_auth(challenge.str("session"));
        self.request(method, path).json(&body).await
    }
}

/// Rooms. Each of these expects success; what should fail is asked with [`User::post`] and its like.
impl User {
    /// Creates a room from the body of `createRoom` and returns its id.
    pub async fn create_room(&self, body: Value) -> String {
        self.post("/v3/createRoom", body).await.expect_ok().str("room_id").to_owned()
    }

    /// A room that everybody may join.
    pub async fn create_public_room(&self) -> String {
        self.create_room(json!({"preset": "public_chat"})).await
    }

    /// Joins by room id or alias and returns the room id.
    pub async fn join(&self, room: &str) -> String {
        self.post(&path!("/v3/join/{}", room), json!({})).await.expect_ok().str("room_id").to_owned()
    }

    /// Invites another user.
    pub async fn invite(&self, room_id: &str, other: &User) {
        self.membership(room_id, "invite", &other.id).await.expect_ok();
    }

    /// Leaves, or rejects an invite.
    pub async fn leave(&self, room_id: &str) {
        self.post(&path!("/v3/rooms/{}/leave", room_id), json!({})).await.expect_ok();
    }

    /// `invite`, `kick`, `ban` or `unban` of a user id; the caller judges the answer.
    pub async fn membership(&self, room_id: &str, action: &str, user_id: &str) -> Response {
        self.post(&path!("/v3/rooms/{}/{}", room_id, action), json!({"user_id": user_id})).await
    }

    /// Sends a message event and returns its id.
    pub async fn send(&self, room_id: &str, event_type: &str, content: Value) -> String {
        let path = path!("/v3/rooms/{}/send/{}/{}", room_id, event_type, unique("txn"));
        self.put(&path, content).await.expect_ok().str("event_id").to_owned()
    }

    /// Sends a text message and returns its event id.
    pub async fn send_text(&self, room_id: &str, body: &str) -> String {
        self.send(room_id, "m.room.message", json!({"msgtype": "m.text", "body": body})).await
    }

    /// Sets a piece of state and returns the event's id.
    pub async fn set_state(
        &self,
        room_id: &str,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> String {
        let path = path!("/v3/rooms/{}/state/{}/{}", room_id, event_type, state_key);
        self.put(&path, content).await.expect_ok().str("event_id").to_owned()
    }

    /// The content of a piece of current state; the caller judges the answer.
    pub async fn get_state(&self, room_id: &str, event_type: &str, state_key: &str) -> Response {
        self.get(&path!("/v3/rooms/{}/state/{}/{}", room_id, event_type, state_key)).await
    }

    /// An event by id; the caller judges the answer.
    pub async fn get_event(&self, room_id: &str, event_id: &str) -> Response {
        self.get(&path!("/v3/rooms/{}/event/{}", room_id, event_id)).await
    }
}

/// Sync.
impl User {
    /// One `/sync` request in the making; `.await` sends it and expects a 200.
    pub fn sync(&self) -> SyncRequest {
        SyncRequest::new(self)
    }

    /// Does an initial sync and follows the stream from there.
    pub async fn syncer(&self) -> Syncer {
        Syncer::start(self, None).await
    }

    /// Like [`User::syncer`], with an inline filter on every request.
    pub async fn syncer_with_filter(&self, filter: Value) -> Syncer {
        Syncer::start(self, Some(filter)).await
    }
}
