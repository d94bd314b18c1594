//! What the cases about rooms stand on: people, attempts that may be refused, and walks through a room.

use sytest_like::{Request, Response, Server, User, Value, json, path, unique};

/// Two users of the shared server.
pub(super) async fn two() -> (User, User) {
    let server = Server::shared().await;
    tokio::join!(server.register("alice"), server.register("bob"))
}

/// Three users of the shared server.
pub(super) async fn three() -> (User, User, User) {
    let server = Server::shared().await;
    tokio::join!(server.register("alice"), server.register("bob"), server.register("carol"))
}

/// A public room of `owner` that the others have joined.
pub(super) async fn room_with(owner: &User, others: &[&User]) -> String {
    let room = owner.create_public_room().await;
    for other in others {
        other.join(&room).await;
    }
    room
}

/// A public room of a certain version that the others have joined.
pub(super) async fn room_of_version(version: &str, owner: &User, others: &[&User]) -> String {
    let room = owner.create_room(json!({"preset": "public_chat", "room_version": version})).await;
    for other in others {
        other.join(&room).await;
    }
    room
}

/// Tries to send a message event.
pub(super) async fn try_send(user: &User, room: &str, event_type: &str, content: Value) -> Response {
    user.put(&path!("/v3/rooms/{}/send/{}/{}", room, event_type, unique("txn")), content).await
}

/// Tries to send a text message.
pub(super) async fn try_text(user: &User, room: &str) -> Response {
    try_send(user, room, "m.room.message", json!({"msgtype": "m.text", "body": "hello"})).await
}

/// Tries to set a piece of state.
pub(super) async fn try_state(user: &User, room: &str, kind: &str, key: &str, content: Value) -> Response {
    user.put(&path!("/v3/rooms/{}/state/{}/{}", room, kind, key), content).await
}

/// Tries to join.
pub(super) async fn try_join(user: &User, room: &str) -> Response {
    user.post(&path!("/v3/join/{}", room), json!({})).await
}

/// The membership of a user as somebody in the room reads it; `none` when they have none.
pub(super) async fn membership_of(reader: &User, room: &str, user_id: &str) -> String {
    let answer = reader.get_state(room, "m.room.member", user_id).await;
    if answer.status == 404 { "none".to_owned() } else { answer.expect_ok().str("membership").to_owned() }
}

/// The content of `m.room.power_levels`.
pub(super) async fn power_levels(reader: &User, room: &str) -> Value {
    reader.get_state(room, "m.room.power_levels", "").await.expect_ok().json
}

/// Changes `m.room.power_levels`: each pointer (`/users/@bob:x`, `/kick`) gets its value, and the rest stays.
pub(super) async fn set_levels(user: &User, room: &str, changes: Value) -> Response {
    let mut levels = power_levels(user, room).await;
    merge(&mut levels, &changes);
    try_state(user, room, "m.room.power_levels", "", levels).await
}

fn merge(into: &mut Value, changes: &Value) {
    for (key, value) in changes.as_object().expect("changes are an object") {
        if value.is_object() && into[key].is_object() {
            merge(&mut into[key], value);
        } else {
            into[key] = value.clone();
        }
    }
}

/// The whole current state as the user reads it.
pub(super) async fn whole_state(user: &User, room: &str) -> Vec<Value> {
    let answer = user.get(&path!("/v3/rooms/{}/state", room)).await.expect_ok();
    answer.json.as_array().expect("state is an array").clone()
}

/// A piece of state as a whole event.
pub(super) async fn state_event(user: &User, room: &str, kind: &str, key: &str) -> Value {
    let path = path!("/v3/rooms/{}/state/{}/{}", room, kind, key);
    user.get(&path).query("format", "event").await.expect_ok().json
}

/// The answer refuses somebody who is banned: the specification has two codes that fit.
#[track_caller]
pub(super) fn expect_banned(answer: Response) {
    answer.expect_err_of(&[(403, "M_FORBIDDEN"), (403, "M_BAD_STATE")]);
}

/// A page of `/messages`, to which a case adds what it wants.
pub(super) fn page(user: &User, room: &str, direction: &str) -> Request {
    user.get(&path!("/v3/rooms/{}/messages", room)).query("dir", direction)
}

/// All events that a walk through the room yields, page by page, in the order of the walk.
pub(super) async fn walk(user: &User, room: &str, direction: &str, limit: usize) -> Vec<Value> {
    walk_from(user, room, direction, limit, None).await
}

/// Like [`walk`], from a token.
pub(super) async fn walk_from(
    user: &User,
    room: &str,
    direction: &str,
    limit: usize,
    from: Option<&str>,
) -> Vec<Value> {
    const ENOUGH: usize = 300;
    let mut events = Vec::new();
    let mut from = from.map(str::to_owned);
    for _ in 0..ENOUGH {
        let mut request = page(user, room, direction).query("limit", limit.to_string());
        if let Some(token) = &from {
            request = request.query("from", token);
        }
        let answer = request.await.expect_ok();
        let chunk = answer.array("chunk");
        assert!(chunk.len() <= limit, "more than {limit}: {answer}");
        events.extend(chunk.iter().cloned());
        match answer.get("end").and_then(Value::as_str) {
            None => return events,
            Some(end) => from = Some(end.to_owned()),
        }
    }
    panic!("{room}: the walk does not end");
}

/// The event ids of a list of events.
pub(super) fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event_id"].as_str().expect("an event has an id")).collect()
}

/// The `body` of each event that has one.
pub(super) fn bodies(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["content"]["body"].as_str()).collect()
}

/// Sends messages with the bodies `0`, `1`, … and returns their ids.
pub(super) async fn send_numbered(user: &User, room: &str, count: usize) -> Vec<String> {
    let mut sent = Vec::new();
    for number in 0..count {
        sent.push(user.send_text(room, &number.to_string()).await);
    }
    sent
}

/// Redacts and returns the id of the redaction.
pub(super) async fn redact(user: &User, room: &str, event_id: &str) -> String {
    try_redact(user, room, event_id, json!({})).await.expect_ok().str("event_id").to_owned()
}

/// Tries to redact.
pub(super) async fn try_redact(user: &User, room: &str, event_id: &str, body: Value) -> Response {
    user.put(&path!("/v3/rooms/{}/redact/{}/{}", room, event_id, unique("txn")), body).await
}

/// The content of a message that relates to another event.
pub(super) fn relation(rel_type: &str, event_id: &str, body: &str) -> Value {
    json!({
        "msgtype": "m.text",
        "body": body,
        "m.relates_to": {"rel_type": rel_type, "event_id": event_id},
    })
}

/// The content of an edit.
pub(super) fn edit(event_id: &str, body: &str) -> Value {
    let mut content = relation("m.replace", event_id, &format!("* {body}"));
    content["m.new_content"] = json!({"msgtype": "m.text", "body": body});
    content
}
