//! Redactions: who may make them and what clients see of them.

use sytest_like::{Server, User, Value, json, path, timeline, unique};

use super::ground::{
    bodies, membership_of, page, redact, room_of_version, room_with, set_levels, state_event, three,
    try_redact, two, walk,
};

/// Everything that shows an event to the user: by its id, in pages both ways, as context, and in a sync.
async fn everywhere(user: &User, room: &str, event: &str) -> Vec<Value> {
    let mut found = vec![user.get_event(room, event).await.expect_ok().json];
    for direction in ["b", "f"] {
        found.extend(walk(user, room, direction, 50).await);
    }
    let context = user.get(&path!("/v3/rooms/{}/context/{}", room, event)).await.expect_ok();
    found.push(context["event"].clone());
    found.extend(timeline(&user.sync().await, room));
    found.retain(|candidate| candidate["event_id"] == event);
    assert!(found.len() >= 5, "{found:?}");
    found
}

/// A redacted message is empty wherever it is shown, and says by what it was redacted.
/// spec: client-server-api/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn redacted_message_is_empty_everywhere() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let event = alice.send_text(&room, "regrettable").await;
    let reason = json!({"reason": "Indecent material"});
    let redaction = try_redact(&alice, &room, &event, reason).await.expect_ok().str("event_id").to_owned();
    for user in [&alice, &bob] {
        for seen in everywhere(user, &room, &event).await {
            assert_eq!(seen["content"], json!({}));
            assert_eq!((&seen["type"], &seen["sender"]), (&json!("m.room.message"), &json!(alice.id)));
            let because = &seen["unsigned"]["redacted_because"];
            assert_eq!(because["event_id"], redaction.as_str(), "{seen}");
            assert_eq!(because["type"], "m.room.redaction");
            assert_eq!(because["sender"], alice.id.as_str());
            assert_eq!(because["content"]["reason"], "Indecent material");
            assert!(!seen.to_string().contains("regrettable"));
        }
    }
}

/// A redaction is an event like others, and says what it redacts in both places in every version.
/// spec: rooms/v11/#moving-the-redacts-property-of-mroomredaction-events-to-a-content-property
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn redaction_says_what_it_redacts() {
    let (alice, bob) = two().await;
    for version in ["1", "6", "10", "11", "12"] {
        let room = room_of_version(version, &alice, &[&bob]).await;
        let event = alice.send_text(&room, "regrettable").await;
        let mut hears = bob.syncer().await;
        let redaction = redact(&alice, &room, &event).await;
        let heard = hears.until_event(&room, &redaction).await;
        let heard = heard.last().expect("the redaction").clone();
        for seen in [heard, bob.get_event(&room, &redaction).await.expect_ok().json] {
            assert_eq!(seen["type"], "m.room.redaction");
            assert_eq!(seen["redacts"], event.as_str(), "version {version}: {seen}");
            assert_eq!(seen["content"]["redacts"], event.as_str(), "version {version}: {seen}");
        }
    }
}

async fn redacts_by_sending(version: &str) {
    let (alice, bob) = two().await;
    let room = room_of_version(version, &alice, &[&bob]).await;
    let event = alice.send_text(&room, "regrettable").await;
    let theirs = alice.send_text(&room, "alice's").await;
    let content = json!({"redacts": event, "reason": "oops"});
    let redaction = alice.send(&room, "m.room.redaction", content).await;
    let seen = bob.get_event(&room, &event).await.expect_ok();
    assert_eq!(seen["content"], json!({}), "version {version}");
    assert_eq!(seen["/unsigned/redacted_because/event_id"], redaction.as_str());
    bob.get_event(&room, &redaction).await.expect_ok().has("/content/reason", "oops");
    let path = path!("/v3/rooms/{}/send/m.room.redaction/{}", room, unique("txn"));
    bob.put(&path, json!({"redacts": theirs})).await.expect_err(403, "M_FORBIDDEN");
    bob.get_event(&room, &theirs).await.expect_ok().has("/content/body", "alice's");
}

/// Redactions can be sent like other events as well, under the same rules.
/// spec: client-server-api/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn redaction_can_be_sent_as_an_event() {
    for version in ["11", "12"] {
        redacts_by_sending(version).await;
    }
}

/// That holds in older rooms too, where a redaction has another form.
/// spec: client-server-api/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn redaction_can_be_sent_as_an_event_in_older_rooms() {
    for version in ["1", "6", "10"] {
        redacts_by_sending(version).await;
    }
}

/// Everybody redacts their own; for others' the redact level is needed.
/// spec: client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn redacting_others_needs_the_level() {
    let (alice, bob, carol) = three().await;
    for version in ["1", "10", "11", "12"] {
        let room = room_of_version(version, &alice, &[&bob, &carol]).await;
        set_levels(&alice, &room, json!({"redact": 40, "users": {&carol.id: 40}})).await.expect_ok();
        let first = alice.send_text(&room, "first").await;
        let second = bob.send_text(&room, "second").await;
        try_redact(&bob, &room, &first, json!({})).await.expect_err(403, "M_FORBIDDEN");
        alice.get_event(&room, &first).await.expect_ok().has("/content/body", "first");
        redact(&bob, &room, &second).await;
        redact(&carol, &room, &first).await;
        assert!(bodies(&walk(&alice, &room, "b", 20).await).is_empty());
    }
}

/// The level for redaction events is needed even for one's own.
/// spec: client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn redaction_events_have_a_level() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    set_levels(&alice, &room, json!({"events": {"m.room.redaction": 20}})).await.expect_ok();
    let event = bob.send_text(&room, "mine").await;
    try_redact(&bob, &room, &event, json!({})).await.expect_err(403, "M_FORBIDDEN");
    bob.get_event(&room, &event).await.expect_ok().has("/content/body", "mine");
    set_levels(&alice, &room, json!({"users": {&bob.id: 20}})).await.expect_ok();
    redact(&bob, &room, &event).await;
}

/// Only members redact.
/// spec: client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn only_members_redact() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let (own, other) = (bob.send_text(&room, "own").await, alice.send_text(&room, "other").await);
    bob.leave(&room).await;
    for event in [&own, &other] {
        try_redact(&bob, &room, event, json!({})).await.expect_err(403, "M_FORBIDDEN");
    }
    assert_eq!(bodies(&walk(&alice, &room, "f", 20).await), ["own", "other"]);
}

/// A redaction is idempotent by its transaction.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn repeated_redaction_is_the_first() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let event = alice.send_text(&room, "regrettable").await;
    let path = path!("/v3/rooms/{}/redact/{}/{}", room, event, unique("txn"));
    let first = alice.put(&path, json!({"reason": "one"})).await.expect_ok();
    let second = alice.put(&path, json!({"reason": "two"})).await.expect_ok();
    assert_eq!(first["event_id"], second["event_id"]);
    let redactions = walk(&bob, &room, "b", 20).await;
    assert_eq!(redactions.iter().filter(|event| event["type"] == "m.room.redaction").count(), 1);
}

/// What is already redacted can be redacted again, and stays so.
/// spec: client-server-api/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn redacting_twice_is_no_harm() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let event = bob.send_text(&room, "regrettable").await;
    redact(&bob, &room, &event).await;
    redact(&alice, &room, &event).await;
    bob.get_event(&room, &event).await.expect_ok().has("content", json!({}));
}

/// A redaction can be redacted; what it redacted stays redacted.
/// spec: client-server-api/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn redacting_a_redaction_brings_nothing_back() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_room(json!({"room_version": "11"})).await;
    let event = alice.send_text(&room, "regrettable").await;
    let reason = json!({"reason": "as bad as the message"});
    let redaction = try_redact(&alice, &room, &event, reason).await.expect_ok().str("event_id").to_owned();
    redact(&alice, &room, &redaction).await;
    alice.get_event(&room, &event).await.expect_ok().has("content", json!({}));
    let seen = alice.get_event(&room, &redaction).await.expect_ok();
    assert!(seen["content"].get("reason").is_none(), "{seen}");
    assert_eq!(seen["content"]["redacts"], event.as_str());
}

/// Events that are not there, or are in another room, are not redacted.
/// spec: client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn events_of_other_rooms_are_out_of_reach() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (here, there) = (alice.create_public_room().await, alice.create_public_room().await);
    let event = alice.send_text(&there, "safe").await;
    try_redact(&alice, &here, &event, json!({})).await.expect_refused();
    let unknown = try_redact(&alice, &here, &format!("${}", "A".repeat(43)), json!({})).await;
    assert!(unknown.status == 200 || (400..500).contains(&unknown.status), "{unknown}");
    alice
        .get_event(&there, &event)
        .await
        .expect_ok()
        .has("/content/body", "safe")
        .expect_absent("/unsigned/redacted_because");
}

/// A redacted topic is no topic, and is still the state that is there.
/// spec: client-server-api/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
#[tokio::test]
async fn redacted_state_is_empty_state() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "one"})).await;
    let event = alice.set_state(&room, "m.room.topic", "", json!({"topic": "two"})).await;
    let redaction = redact(&alice, &room, &event).await;
    assert_eq!(bob.get_state(&room, "m.room.topic", "").await.expect_ok().json, json!({}));
    let whole = state_event(&bob, &room, "m.room.topic", "").await;
    assert_eq!(whole["event_id"], event.as_str());
    assert_eq!(whole["unsigned"]["redacted_because"]["event_id"], redaction.as_str());
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "three"})).await;
    bob.get_state(&room, "m.room.topic", "").await.expect_ok().has("topic", "three");
}

/// A redacted join is a join without a name.
/// spec: client-server-api/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/joined_members
#[tokio::test]
async fn redacted_join_is_still_a_join() {
    let (alice, bob) = two().await;
    let name = path!("/v3/profile/{}/displayname", bob.id);
    bob.put(&name, json!({"displayname": "Rude Bob"})).await.expect_ok();
    let room = room_with(&alice, &[&bob]).await;
    let join = state_event(&alice, &room, "m.room.member", &bob.id).await;
    redact(&alice, &room, join["event_id"].as_str().expect("an id")).await;
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "join");
    alice.get_state(&room, "m.room.member", &bob.id).await.expect_ok().expect_absent("displayname");
    bob.send_text(&room, "still here").await;
    let members = alice.get(&path!("/v3/rooms/{}/joined_members", room)).await.expect_ok();
    assert!(members["joined"].get(&bob.id).is_some(), "{members}");
}

/// A redacted name is no name of a member.
/// spec: client-server-api/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/joined_members
/// covers: GET /_matrix/client/v3/rooms/{roomId}/members
#[tokio::test]
async fn redacted_name_is_nowhere_among_the_members() {
    let (alice, bob) = two().await;
    let name = path!("/v3/profile/{}/displayname", bob.id);
    bob.put(&name, json!({"displayname": "Rude Bob"})).await.expect_ok();
    let room = room_with(&alice, &[&bob]).await;
    let join = state_event(&alice, &room, "m.room.member", &bob.id).await;
    redact(&alice, &room, join["event_id"].as_str().expect("an id")).await;
    for list in ["members", "joined_members"] {
        let members = alice.get(&path!("/v3/rooms/{}/{}", room, list)).await.expect_ok();
        assert!(members.json.to_string().contains(&bob.id), "{members}");
        assert!(!members.json.to_string().contains("Rude Bob"), "{members}");
    }
}

/// Redactions hold over a restart.
/// spec: client-server-api/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn redactions_survive_a_restart() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let event = alice.send_text(&room, "regrettable").await;
    let redaction = redact(&alice, &room, &event).await;
    server.kill9();
    server.start_again().await;
    for seen in everywhere(&alice, &room, &event).await {
        assert_eq!(seen["content"], json!({}));
        assert_eq!(seen["unsigned"]["redacted_because"]["event_id"], redaction.as_str());
    }
    let last = page(&alice, &room, "b").query("limit", "1").await.expect_ok();
    assert_eq!(last.column("chunk", "event_id"), [redaction]);
}
