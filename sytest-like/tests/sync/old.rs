//! The endpoints of before `/sync`, which old clients and bots still call.

use sytest_like::{Response, Server, User, Value, json, path};

async fn pair() -> (User, User, String) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    (alice, bob, room)
}

fn has(answer: &Response, list: &str, id: &str) -> bool {
    answer.array(list).iter().any(|event| event["event_id"] == id)
}

fn room_entry(answer: &Response, room: &str) -> Value {
    let rooms = answer.array("rooms");
    rooms.iter().find(|entry| entry["room_id"] == room).cloned().unwrap_or_else(|| panic!("{answer}"))
}

/// The stream begins where the snapshot ends, wakes with what happens, and goes on where it ended.
/// spec: client-server-api/#get_matrixclientv3events
/// covers: GET /_matrix/client/v3/events
/// covers: GET /_matrix/client/v3/initialSync
#[tokio::test]
async fn stream_goes_on_where_the_snapshot_ends() {
    let (alice, bob, room) = pair().await;
    let before = alice.send_text(&room, "before").await;
    let snapshot = bob.get("/v3/initialSync").await.expect_ok();
    let entry = room_entry(&snapshot, &room);
    assert_eq!(entry["membership"], "join");
    assert_eq!(entry["visibility"], "private");
    let chunk = entry["messages"]["chunk"].as_array().expect("events").clone();
    assert_eq!(chunk.last().expect("an event")["event_id"], before.as_str());
    assert!(chunk.iter().all(|event| event["room_id"] == room.as_str()), "{entry}");
    let state = entry["state"].as_array().expect("state");
    assert!(state.iter().any(|event| event["type"] == "m.room.create"), "{entry}");
    let end = snapshot.str("end").to_owned();
    let waiting = {
        let bob = bob.clone();
        let end = end.clone();
        tokio::spawn(async move {
            bob.get("/v3/events").query("from", end).query("timeout", "30000").await.expect_ok()
        })
    };
    let sent = alice.send_text(&room, "after").await;
    let mut answer = waiting.await.expect("an answer");
    assert_eq!(answer.str("start"), end);
    // Receipts, presence and the like may come first.
    while !has(&answer, "chunk", &sent) {
        let from = answer.str("end").to_owned();
        answer = bob.get("/v3/events").query("from", from).query("timeout", "5000").await.expect_ok();
    }
    assert!(!has(&answer, "chunk", &before), "{answer}");
    let event = answer.array("chunk").iter().find(|event| event["event_id"] == sent.as_str()).expect("it");
    assert_eq!(event["room_id"], room.as_str());
    let again = bob.get("/v3/events").query("from", answer.str("end")).query("timeout", "0").await;
    assert!(!has(&again.expect_ok(), "chunk", &sent));
    bob.get("/v3/events").query("from", "nonsense").await.expect_status(400);
    bob.get("/v3/events").anonymous().await.expect_err(401, "M_MISSING_TOKEN");
    bob.get("/v3/initialSync").anonymous().await.expect_err(401, "M_MISSING_TOKEN");
}

/// The snapshot has as many messages as asked for, invites, and where wanted the rooms that were left.
/// spec: client-server-api/#get_matrixclientv3initialsync
/// covers: GET /_matrix/client/v3/initialSync
#[tokio::test]
async fn snapshot_has_what_is_asked_for() {
    let (alice, bob, room) = pair().await;
    for number in 0..4 {
        alice.send_text(&room, &format!("message {number}")).await;
    }
    let left = alice.create_public_room().await;
    bob.join(&left).await;
    bob.leave(&left).await;
    let invited = alice.create_room(json!({"preset": "private_chat"})).await;
    alice.invite(&invited, &bob).await;
    let answer = bob.get("/v3/initialSync").query("limit", "2").await.expect_ok();
    let entry = room_entry(&answer, &room);
    assert_eq!(entry["messages"]["chunk"].as_array().map(Vec::len), Some(2), "{entry}");
    let invite = room_entry(&answer, &invited);
    assert_eq!(invite["membership"], "invite");
    assert_eq!(invite["invite"]["state_key"], bob.id.as_str());
    assert!(answer.array("rooms").iter().all(|entry| entry["room_id"] != left.as_str()), "{answer}");
    let archived = bob.get("/v3/initialSync").query("archived", "true").await.expect_ok();
    assert_eq!(room_entry(&archived, &left)["membership"], "leave");
}

/// Reading in the old way takes no messages away from the device.
/// spec: client-server-api/#get_matrixclientv3events
/// covers: GET /_matrix/client/v3/events
/// not on synapse: what it does with them is its own
#[tokio::test]
async fn old_stream_leaves_messages_to_devices_alone() {
    let (alice, bob, _) = pair().await;
    let start = bob.get("/v3/initialSync").await.expect_ok().str("end").to_owned();
    let messages = json!({"messages": {bob.id.clone(): {bob.device_id.clone(): {"hello": 1}}}});
    alice.put("/v3/sendToDevice/org.example.x/1", messages).await.expect_ok();
    let first = bob.get("/v3/events").query("from", start).query("timeout", "0").await.expect_ok();
    bob.get("/v3/events").query("from", first.str("end")).query("timeout", "0").await.expect_ok();
    let answer = bob.sync().await;
    assert_eq!(answer.at("/to_device/events/0/content/hello"), 1);
}

/// One event is found by its id alone, by those who may see it.
/// spec: client-server-api/#get_matrixclientv3eventseventid
/// covers: GET /_matrix/client/v3/events/{eventId}
#[tokio::test]
async fn event_is_found_by_its_id_alone() {
    let (alice, bob, room) = pair().await;
    let carol = bob.server.register("carol").await;
    let event = alice.send_text(&room, "hello").await;
    let path = path!("/v3/events/{}", event);
    bob.get(&path).await.expect_ok().has("/content/body", "hello").has("room_id", room.as_str());
    carol.get(&path).await.expect_refused();
    bob.get("/v3/events/$nothing").await.expect_status(404);
    bob.get(&path).anonymous().await.expect_err(401, "M_MISSING_TOKEN");
}

/// A room is told as a whole to those who are in it, or were.
/// spec: client-server-api/#get_matrixclientv3roomsroomidinitialsync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/initialSync
/// not on synapse: it leaves out whether the room is published
#[tokio::test]
async fn room_is_told_as_a_whole() {
    let (alice, bob, room) = pair().await;
    let carol = bob.server.register("carol").await;
    let first = alice.send_text(&room, "first").await;
    let second = alice.send_text(&room, "second").await;
    let tag = path!("/v3/user/{}/rooms/{}/account_data/org.example.x", bob.id, room);
    bob.put(&tag, json!({"a": 1})).await.expect_ok();
    let path = path!("/v3/rooms/{}/initialSync", room);
    let answer = bob.get(&path).query("limit", "2").await.expect_ok();
    let answer = answer.has("room_id", room.as_str()).has("membership", "join").has("visibility", "private");
    assert_eq!(answer.column("/messages/chunk", "event_id"), [first, second]);
    assert!(answer.column("state", "type").contains(&"m.room.join_rules".to_owned()), "{answer}");
    assert!(answer.array("account_data").iter().any(|event| event["content"]["a"] == 1), "{answer}");
    // What came before is found from its start.
    let messages = path!("/v3/rooms/{}/messages", room);
    let earlier = bob.get(&messages).query("dir", "b").query("from", answer.str("/messages/start")).await;
    assert!(!earlier.expect_ok().array("chunk").is_empty());
    carol.get(&path).await.expect_err(403, "M_FORBIDDEN");
    bob.leave(&room).await;
    let after = alice.send_text(&room, "after").await;
    let answer = bob.get(&path).await.expect_ok().has("membership", "leave");
    assert!(!answer.column("/messages/chunk", "event_id").contains(&after), "{answer}");
}

/// Anybody can follow a room that everybody may read, without being in it; not others.
/// spec: client-server-api/#peeking_get_matrixclientv3events
/// covers: GET /_matrix/client/v3/events
/// covers: GET /_matrix/client/v3/rooms/{roomId}/initialSync
/// not on synapse: it answers before anything has happened
#[tokio::test]
async fn readable_room_is_followed_from_outside() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let open = json!([{
        "type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "world_readable"},
    }]);
    let room = alice.create_room(json!({"preset": "public_chat", "initial_state": open})).await;
    let closed = alice.create_public_room().await;
    let whole = bob.get(&path!("/v3/rooms/{}/initialSync", room)).await.expect_ok();
    let end = whole.str("/messages/end").to_owned();
    let waiting = {
        let (bob, room, end) = (bob.clone(), room.clone(), end.clone());
        tokio::spawn(async move {
            let request = bob.get("/v3/events").query("room_id", room).query("from", end);
            request.query("timeout", "30000").await.expect_ok()
        })
    };
    alice.send_text(&closed, "elsewhere").await;
    let sent = alice.send_text(&room, "hello").await;
    let answer = waiting.await.expect("an answer");
    assert_eq!(answer.column("chunk", "event_id"), [sent]);
    let next = bob.get("/v3/events").query("room_id", &room).query("from", answer.str("end"));
    assert!(next.query("timeout", "0").await.expect_ok().array("chunk").is_empty());
    bob.get("/v3/events").query("room_id", &closed).await.expect_err(403, "M_FORBIDDEN");
    // Once the room is closed, nothing more is told.
    let content = json!({"history_visibility": "joined"});
    alice.set_state(&room, "m.room.history_visibility", "", content).await;
    alice.send_text(&room, "secret").await;
    bob.get("/v3/events").query("room_id", &room).query("from", end).await.expect_err(403, "M_FORBIDDEN");
}
