//! Sticky events: delivered for a while whatever comes after them.

use sytest_like::{Response, Server, ServerOptions, User, Value, json, path, timeline_ids, unique};

const DURATION: &str = "org.matrix.msc4354.sticky_duration_ms";
const EXTENSION: &str = "org.matrix.msc4354.sticky_events";

async fn stick(user: &User, room: &str, duration_ms: u64, key: &str) -> String {
    let path = path!("/v3/rooms/{}/send/{}/{}", room, "org.example.member", unique("txn"));
    let content = json!({"msc4354_sticky_key": key});
    let answer = user.put(&path, content).query(DURATION, duration_ms.to_string()).await;
    answer.expect_ok().str("event_id").to_owned()
}

async fn chat(user: &User, room: &str, times: usize) {
    for number in 0..times {
        user.send_text(room, &format!("message {number}")).await;
    }
}

/// The ids in the section for sticky events.
fn sticky_ids(answer: &Response, room: &str) -> Vec<String> {
    ids(&answer.json["rooms"]["join"][room]["msc4354_sticky"]["events"])
}

fn ids(events: &Value) -> Vec<String> {
    let events = events.as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().map(|event| event["event_id"].as_str().expect("an event has an id").to_owned()).collect()
}

fn limit(events: u64) -> Value {
    json!({"room": {"timeline": {"limit": events}}})
}

/// A sticky event that the timeline is too short for is told beside it, once.
/// spec: none (MSC4354)
/// covers: GET /_matrix/client/v3/sync
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// not on synapse: it is switched off there
#[tokio::test]
async fn sticky_event_is_told_beside_a_short_timeline() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let versions = alice.get("/versions").await.expect_ok();
    assert_eq!(versions.at("/unstable_features")["org.matrix.msc4354"], true);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let mut syncer = bob.syncer_with_filter(limit(2)).await;
    let sticky = stick(&alice, &room, 600_000, "laptop").await;
    chat(&alice, &room, 3).await;
    let answer = syncer.next(5_000).await;
    assert_eq!(sticky_ids(&answer, &room), [sticky.clone()]);
    let event = &answer.json["rooms"]["join"][&room]["msc4354_sticky"]["events"][0];
    assert_eq!(event["msc4354_sticky"]["duration_ms"], 600_000);
    assert_eq!(event["content"]["msc4354_sticky_key"], "laptop");
    let left = event["unsigned"]["msc4354_sticky_duration_ttl_ms"].as_u64();
    assert!(left > Some(500_000) && left <= Some(600_000), "{event}");
    chat(&alice, &room, 1).await;
    let answer = syncer.next(5_000).await;
    assert!(answer.json["rooms"]["join"][&room].get("msc4354_sticky").is_none(), "{answer}");
    // Where it is in the timeline, it is nowhere else.
    let next = stick(&alice, &room, 600_000, "laptop").await;
    let answer = syncer.next(5_000).await;
    assert_eq!(timeline_ids(&answer, &room), [next]);
    assert!(sticky_ids(&answer, &room).is_empty(), "{answer}");
}

/// A timeline that the filter keeps empty does not hold sticky events back.
/// spec: none (MSC4354)
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it is switched off there
#[tokio::test]
async fn filter_of_the_timeline_does_not_hold_sticky_events_back() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let filter = json!({"room": {"timeline": {"types": ["m.room.message"]}}});
    let mut syncer = bob.syncer_with_filter(filter).await;
    let sticky = stick(&alice, &room, 600_000, "x").await;
    let answer = syncer.next(5_000).await;
    assert_eq!(sticky_ids(&answer, &room), [sticky]);
}

/// Who comes later is told what is still sticky, even where the history before them is hidden, and what was redacted is
/// not told.
/// spec: none (MSC4354)
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it is switched off there
#[tokio::test]
async fn newcomers_are_told_what_is_still_sticky() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let visibility = json!([{"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}}]);
    let room = alice.create_room(json!({"preset": "public_chat", "initial_state": visibility})).await;
    let kept = stick(&alice, &room, 600_000, "kept").await;
    let redacted = stick(&alice, &room, 600_000, "redacted").await;
    stick(&alice, &room, 0, "expired").await;
    let path = path!("/v3/rooms/{}/redact/{}/{}", room, redacted, unique("txn"));
    alice.put(&path, json!({})).await.expect_ok();
    let mut syncer = bob.syncer().await;
    bob.join(&room).await;
    let answer = syncer.until("the room", |answer| answer.json["rooms"]["join"].get(&room).is_some()).await;
    assert_eq!(sticky_ids(&answer, &room), [kept.clone()]);
    let initial = bob.sync().filter(&limit(1)).await;
    assert_eq!(sticky_ids(&initial, &room), [kept]);
}

/// Nobody is told of sticky events of people whom they ignore.
/// spec: none (MSC4354)
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it is switched off there
#[tokio::test]
async fn ignored_people_stick_to_nobody() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let ignored = json!({"ignored_users": {alice.id.clone(): {}}});
    bob.put(&path!("/v3/user/{}/account_data/m.ignored_user_list", bob.id), ignored).await.expect_ok();
    stick(&alice, &room, 600_000, "x").await;
    let answer = bob.sync().filter(&limit(1)).await;
    assert!(sticky_ids(&answer, &room).is_empty(), "{answer}");
}

/// Sliding sync tells sticky events in an extension.
/// spec: none (MSC4354)
/// not on synapse: it is switched off there
#[tokio::test]
async fn sliding_sync_has_an_extension_for_them() {
    const PATH: &str = "/unstable/org.matrix.simplified_msc3575/sync";
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let before = stick(&alice, &room, 600_000, "before").await;
    chat(&alice, &room, 2).await;
    let body = json!({
        "lists": {"all": {"ranges": [[0, 9]], "timeline_limit": 1, "required_state": []}},
        "extensions": {EXTENSION: {"enabled": true}},
    });
    let told = |answer: &Response| ids(&answer.json["extensions"][EXTENSION]["rooms"][&room]["events"]);
    let first = bob.post(PATH, body.clone()).await.expect_ok();
    assert_eq!(told(&first), [before]);
    let between = stick(&alice, &room, 600_000, "between").await;
    chat(&alice, &room, 2).await;
    let next = bob.post(PATH, body.clone()).query("pos", first.str("pos")).await.expect_ok();
    let mut all = told(&next);
    let timeline = ids(&next.json["rooms"][&room]["timeline"]);
    all.extend(timeline.into_iter().filter(|id| *id == between));
    assert_eq!(all, [between], "{next}");
    let quiet = bob.post(PATH, body).query("pos", next.str("pos")).query("timeout", "0").await.expect_ok();
    assert!(told(&quiet).is_empty(), "{quiet}");
}

/// What is sticky outlives a restart, and other replicas know of it.
/// spec: none (MSC4354)
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn sticky_events_outlive_a_restart() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let alice = replicas[0].register("alice").await;
    let room = alice.create_public_room().await;
    let first = stick(&alice, &room, 600_000, "first").await;
    let second = stick(&alice, &room, 600_000, "second").await;
    chat(&alice, &room, 2).await;
    let there = replicas[1].as_seen_here(&alice).sync().filter(&limit(1)).await;
    assert_eq!(sticky_ids(&there, &room), [first.clone(), second.clone()]);
    replicas[0].restart().await;
    let after = alice.sync().filter(&limit(1)).await;
    assert_eq!(sticky_ids(&after, &room), [first, second]);
}

/// A delayed event can be sticky once it is sent, and state can be sticky too.
/// spec: none (MSC4354)
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// not on synapse: it is switched off there
#[tokio::test]
async fn delayed_events_and_state_can_be_sticky() {
    let alice = Server::shared().await.register("alice").await;
    let room = alice.create_public_room().await;
    let path = path!("/v3/rooms/{}/delayed_event/{}/{}", room, "org.example.member", unique("txn"));
    let body = json!({"delay_ms": 600_000, "content": {}});
    let answer = alice.put(&path, body).query(DURATION, "300000").await.expect_ok();
    let path = path!("/v1/delayed_events/{}/send", answer.str("delay_id"));
    alice.post(&path, json!({})).await.expect_ok();
    let path = path!("/v3/rooms/{}/state/{}/{}", room, "org.example.state", "x");
    let state = alice.put(&path, json!({})).query(DURATION, "300000").await.expect_ok();
    chat(&alice, &room, 2).await;
    let told = sticky_ids(&alice.sync().filter(&limit(1)).await, &room);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1], state.str("event_id"));
}

/// A duration is a whole number of milliseconds up to an hour.
/// spec: none (MSC4354)
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// not on synapse: it is switched off there
#[tokio::test]
async fn duration_is_checked() {
    let alice = Server::shared().await.register("alice").await;
    let room = alice.create_public_room().await;
    stick(&alice, &room, 3_600_000, "x").await;
    for wrong in ["3600001", "-1", "1.5", "long"] {
        let path = path!("/v3/rooms/{}/send/{}/{}", room, "org.example.member", unique("txn"));
        let answer = alice.put(&path, json!({})).query(DURATION, wrong).await;
        answer.expect_err(400, "M_INVALID_PARAM");
    }
}
