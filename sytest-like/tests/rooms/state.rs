//! State: setting it and reading it.

use sytest_like::{Server, json, path, timeline};

use super::ground::{page, room_with, state_event, try_state, two, whole_state};

/// State is set and read back, and others are other.
/// spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn state_is_set_and_read() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let content = json!({"name": "The Pub \u{1F37A}", "org.example": [1, {"x": null}]});
    let event = alice.set_state(&room, "m.room.name", "", content.clone()).await;
    alice.set_state(&room, "org.example.thing", "a", json!({"n": 1})).await;
    alice.set_state(&room, "org.example.thing", "b", json!({"n": 2})).await;
    assert_eq!(bob.get_state(&room, "m.room.name", "").await.expect_ok().json, content);
    bob.get_state(&room, "org.example.thing", "a").await.expect_ok().has("n", 1);
    bob.get_state(&room, "org.example.thing", "b").await.expect_ok().has("n", 2);
    bob.get_state(&room, "org.example.thing", "").await.expect_err(404, "M_NOT_FOUND");
    let got = bob.get_event(&room, &event).await.expect_ok();
    got.has("state_key", "").has("content", content);
}

/// The empty state key may be written with a slash or without.
/// spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn empty_key_needs_no_slash() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let bare = path!("/v3/rooms/{}/state/m.room.topic", room);
    let slash = format!("{bare}/");
    alice.put(&bare, json!({"topic": "one"})).await.expect_ok();
    alice.get(&slash).await.expect_ok().has("topic", "one");
    alice.put(&slash, json!({"topic": "two"})).await.expect_ok();
    alice.get(&bare).await.expect_ok().has("topic", "two");
}

/// The format is the content, or the whole event.
/// spec: client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn format_chooses_content_or_event() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let event = alice.set_state(&room, "org.example.thing", "k", json!({"n": 1})).await;
    let path = path!("/v3/rooms/{}/state/org.example.thing/k", room);
    assert_eq!(bob.get(&path).query("format", "content").await.expect_ok().json, json!({"n": 1}));
    let whole = bob.get(&path).query("format", "event").await.expect_ok();
    assert_eq!(whole["event_id"], event.as_str());
    assert_eq!(whole["type"], "org.example.thing");
    assert_eq!(whole["state_key"], "k");
    assert_eq!(whole["sender"], alice.id.as_str());
    assert_eq!(whole["room_id"], room.as_str());
    assert_eq!(whole["content"], json!({"n": 1}));
    assert!(whole.int("origin_server_ts") > 0);
    for key in ["prev_events", "auth_events", "hashes", "signatures", "depth"] {
        assert!(whole.get(key).is_none(), "{key}: {whole}");
    }
    let name = path!("/v3/rooms/{}/state/m.room.create/", room);
    bob.get(&name).query("format", "event").await.expect_ok().has("type", "m.room.create");
    bob.get(&path).query("format", "nonsense").await.expect_status(400).expect_refused();
}

/// The whole state has each piece once, as it is now.
/// spec: client-server-api/#get_matrixclientv3roomsroomidstate
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn whole_state_has_each_piece_once() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    for number in 0..4 {
        alice.set_state(&room, "m.room.topic", "", json!({"topic": number.to_string()})).await;
        alice.set_state(&room, "org.example.thing", &number.to_string(), json!({"n": number})).await;
    }
    let state = whole_state(&bob, &room).await;
    let mut keys: Vec<(String, String)> =
        state.iter().map(|event| (event["type"].to_string(), event["state_key"].to_string())).collect();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all, "{state:?}");
    let find = |kind: &str, key: &str| {
        state.iter().find(|event| event["type"] == kind && event["state_key"] == key).expect("it is there")
    };
    assert_eq!(find("m.room.topic", "")["content"]["topic"], "3");
    for number in 0..4 {
        assert_eq!(find("org.example.thing", &number.to_string())["content"]["n"], number);
    }
    for user in [&alice, &bob] {
        assert_eq!(find("m.room.member", &user.id)["content"]["membership"], "join");
    }
    for kind in ["m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility"] {
        assert!(find(kind, "")["event_id"].is_string());
    }
}

/// State keys and types may hold any character.
/// spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn keys_may_hold_any_character() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for key in ["a/b", "with space", "100%", "?x=y#z", "\u{2603}\u{1F407}", "..", "%2F", "+", "a//b", "/"] {
        let event = alice.set_state(&room, "org.example.thing", key, json!({"key": key})).await;
        alice.get_state(&room, "org.example.thing", key).await.expect_ok().has("key", key);
        alice.get_event(&room, &event).await.expect_ok().has("state_key", key);
    }
    for kind in ["a/b", "with space", "\u{2603}", "org.example.%2F"] {
        alice.set_state(&room, kind, "k", json!({"kind": kind})).await;
        alice.get_state(&room, kind, "k").await.expect_ok().has("kind", kind);
    }
}

/// An event that replaces state says what was there.
/// spec: client-server-api/#room-event-format
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn replacing_event_says_what_was_there() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let first = alice.set_state(&room, "m.room.topic", "", json!({"topic": "one"})).await;
    let second = alice.set_state(&room, "m.room.topic", "", json!({"topic": "two"})).await;
    let sync = bob.sync().await;
    let events = timeline(&sync, &room);
    let find = |id: &str| events.iter().find(|event| event["event_id"] == id).expect("in the timeline");
    assert!(find(&first)["unsigned"].get("prev_content").is_none(), "{sync}");
    assert_eq!(find(&second)["unsigned"]["prev_content"], json!({"topic": "one"}));
    let walked = page(&bob, &room, "b").query("limit", "1").await.expect_ok();
    assert_eq!(walked["/chunk/0/unsigned/prev_content"], json!({"topic": "one"}));
}

/// What is not there is not found.
/// spec: client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn absent_state_is_not_found() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[]).await;
    alice.get_state(&room, "m.room.topic", "").await.expect_err(404, "M_NOT_FOUND");
    alice.get_state(&room, "m.room.create", "x").await.expect_err(404, "M_NOT_FOUND");
    alice.get_state(&room, "m.room.member", &bob.id).await.expect_err(404, "M_NOT_FOUND");
    let path = path!("/v3/rooms/{}/state/m.room.topic", room);
    alice.get(&path).query("format", "event").await.expect_err(404, "M_NOT_FOUND");
}

/// Who was never in the room reads no state.
/// spec: client-server-api/#get_matrixclientv3roomsroomidstate
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
#[tokio::test]
async fn strangers_read_no_state() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    bob.get(&path!("/v3/rooms/{}/state", room)).await.expect_err(403, "M_FORBIDDEN");
    bob.get_state(&room, "m.room.create", "").await.expect_err(403, "M_FORBIDDEN");
    bob.get_state(&room, "m.room.absent", "").await.expect_err(403, "M_FORBIDDEN");
    let unknown = format!("!unknown:{}", alice.server.name());
    bob.get(&path!("/v3/rooms/{}/state", unknown)).await.expect_refused();
    bob.get_state(&unknown, "m.room.create", "").await.expect_refused();
}

/// State is neither posted nor deleted.
/// spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn state_is_only_put() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let path = path!("/v3/rooms/{}/state/m.room.topic/", room);
    alice.post(&path, json!({"topic": "x"})).await.expect_err(405, "M_UNRECOGNIZED");
    alice.delete(&path).await.expect_err(405, "M_UNRECOGNIZED");
}

/// Content that is no object is refused, and the state stays.
/// spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn state_content_is_an_object() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "kept"})).await;
    for wrong in [json!([]), json!("topic"), json!(null), json!(7)] {
        try_state(&alice, &room, "m.room.topic", "", wrong).await.expect_status(400).expect_refused();
    }
    alice.get_state(&room, "m.room.topic", "").await.expect_ok().has("topic", "kept");
}

/// A change is heard, and is in the state of who asks from then on.
/// spec: client-server-api/#syncing
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn state_change_is_heard() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let mut hears = bob.syncer().await;
    let event = alice.set_state(&room, "m.room.name", "", json!({"name": "New"})).await;
    let heard = hears.until_event(&room, &event).await;
    assert_eq!(heard.last().expect("it is heard")["content"]["name"], "New");
    assert_eq!(state_event(&bob, &room, "m.room.name", "").await["event_id"], event.as_str());
}

/// State is the same after a restart.
/// spec: client-server-api/#get_matrixclientv3roomsroomidstate
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
#[tokio::test]
async fn state_survives_a_restart() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for number in 0..30 {
        alice.set_state(&room, "org.example.n", &(number % 7).to_string(), json!({"n": number})).await;
    }
    let sorted = |mut events: Vec<sytest_like::Value>| {
        events.sort_by_key(|event| event["event_id"].to_string());
        events.iter().map(|event| event["event_id"].clone()).collect::<Vec<_>>()
    };
    let before = sorted(whole_state(&alice, &room).await);
    server.kill9();
    server.start_again().await;
    assert_eq!(sorted(whole_state(&alice, &room).await), before);
    alice.set_state(&room, "org.example.n", "0", json!({"n": 99})).await;
    alice.get_state(&room, "org.example.n", "0").await.expect_ok().has("n", 99);
    alice.get_state(&room, "org.example.n", "1").await.expect_ok().has("n", 29);
}
