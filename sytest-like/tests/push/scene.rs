//! Three people in a room, and how their counts are read.

use sytest_like::{Response, Server, User, Value, json, path};

/// Alice made the room; Bob and Carol are in it.
pub(super) struct Scene {
    pub(super) alice: User,
    pub(super) bob: User,
    pub(super) carol: User,
    pub(super) room: String,
}

impl Scene {
    pub(super) async fn new(server: &Server) -> Self {
        let (alice, bob, carol) =
            (server.register("alice").await, server.register("bob").await, server.register("carol").await);
        let room = alice.create_public_room().await;
        bob.join(&room).await;
        carol.join(&room).await;
        Self { alice, bob, carol, room }
    }

    /// A receipt.
    pub(super) async fn read(&self, user: &User, kind: &str, event: &str, body: Value) {
        user.post(&path!("/v3/rooms/{}/receipt/{}/{}", self.room, kind, event), body).await.expect_ok();
    }

    /// A message in a thread, with more in its content.
    pub(super) async fn send_in_thread(&self, user: &User, root: &str, more: Value) -> String {
        let mut content = json!({"msgtype": "m.text", "body": "in a thread", "m.relates_to": {"rel_type": "m.thread", "event_id": root}});
        for (key, value) in more.as_object().into_iter().flatten() {
            content[key] = value.clone();
        }
        user.send(&self.room, "m.room.message", content).await
    }
}

fn pair(counts: &Value) -> (i64, i64) {
    (counts["notification_count"].as_i64().unwrap_or(0), counts["highlight_count"].as_i64().unwrap_or(0))
}

/// What a room's entry counts: notifications and highlights.
pub(super) fn counts(answer: &Response, room: &str) -> (i64, i64) {
    pair(&answer.json["rooms"]["join"][room]["unread_notifications"])
}

/// What a room's entry counts for a thread.
pub(super) fn thread_counts(answer: &Response, room: &str, root: &str) -> (i64, i64) {
    pair(&answer.json["rooms"]["join"][room]["unread_thread_notifications"][root])
}

/// What an initial sync counts now.
pub(super) async fn now(user: &User, room: &str) -> (i64, i64) {
    counts(&user.sync().await, room)
}

/// Asks for the counts of threads.
pub(super) fn thread_filter() -> Value {
    json!({"room": {"timeline": {"unread_thread_notifications": true}}})
}
