//! Rooms that were left: by oneself, by force, for good.

use super::view::{
    bodies, chatter, entry, events, find, has_room, limit, mentions, state_of, types, without_presence,
};
use sytest_like::{Response, Server, Syncer, User, Value, json, path, timeline_ids};

/// Two users in a room, and the second one's follower.
async fn stage() -> (User, User, String, Syncer) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_room(json!({"preset": "public_chat", "name": "Den"})).await;
    bob.join(&room).await;
    let syncer = bob.syncer_with_filter(without_presence()).await;
    (alice, bob, room, syncer)
}

fn with_left() -> Value {
    json!({"presence": {"not_types": ["*"]}, "room": {"include_leave": true, "timeline": {"limit": 5}}})
}

#[track_caller]
fn left_timeline(answer: &Response, room: &str) -> Vec<Value> {
    events(entry(answer, "leave", room), "timeline")
}

/// Who leaves on one device sees the room among the left ones on the other, with what was said before, up to the leave.
/// spec: client-server-api/#leaving-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn left_room_ends_with_the_leave() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.send_text(&room, "the last").await;
    bob.leave(&room).await;
    alice.send_text(&room, "behind bob's back").await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "behind bob's back"})).await;
    let answer = syncer.next(5_000).await;
    assert!(!has_room(&answer, "join", &room), "{answer}");
    let timeline = left_timeline(&answer, &room);
    assert_eq!(types(&timeline), ["m.room.message", "m.room.member"], "{answer}");
    let last = timeline.last().expect("there are two");
    assert_eq!((&last["content"]["membership"], &last["state_key"]), (&json!("leave"), &json!(bob.id)));
    assert!(!answer.to_string().contains("behind"), "{answer}");
}

/// After that there is nothing more of it.
/// spec: client-server-api/#leaving-rooms
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn left_room_is_silent() {
    let (alice, bob, room, mut syncer) = stage().await;
    bob.leave(&room).await;
    syncer.until_room("leave", &room).await;
    alice.send_text(&room, "anybody there?").await;
    alice.set_state(&room, "m.room.name", "", json!({"name": "Without bob"})).await;
    let typing = path!("/v3/rooms/{}/typing/{}", room, alice.id);
    alice.put(&typing, json!({"typing": true, "timeout": 30_000})).await.expect_ok();
    let quiet = syncer.next(0).await;
    assert!(!mentions(&quiet, &room), "{quiet}");
    let fresh = bob.login().await.sync().await;
    assert!(!mentions(&fresh, &room), "{fresh}");
}

/// A kick shows the room among the left ones, with who did it and why.
/// spec: client-server-api/#kicking-users-from-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn kicked_user_learns_why() {
    let (alice, bob, room, mut syncer) = stage().await;
    let body = json!({"user_id": bob.id, "reason": "too loud"});
    alice.post(&path!("/v3/rooms/{}/kick", room), body).await.expect_ok();
    let answer = syncer.next(5_000).await;
    let timeline = left_timeline(&answer, &room);
    let event = find(&timeline, "m.room.member", Some(&bob.id)).expect("the kick is there");
    assert_eq!(event["sender"], alice.id.as_str());
    assert_eq!(event["content"]["membership"], "leave");
    assert_eq!(event["content"]["reason"], "too loud");
    assert_eq!(event["unsigned"]["prev_content"]["membership"], "join", "{event}");
}

/// A banned room is among the left ones.
/// spec: client-server-api/#banning-users-in-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn banned_room_is_a_left_room() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    let answer = syncer.next(5_000).await;
    assert!(!has_room(&answer, "join", &room), "{answer}");
    let timeline = left_timeline(&answer, &room);
    let event = find(&timeline, "m.room.member", Some(&bob.id)).expect("the ban is there");
    assert_eq!(event["content"]["membership"], "ban");
    let fresh = bob.sync().filter(&with_left()).await;
    assert!(has_room(&fresh, "leave", &room), "{fresh}");
}

/// Somebody banned, unbanned and invited again can come back, and hears everything from then on.
/// spec: client-server-api/#banning-users-in-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/unban
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn unbanned_user_can_come_back() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    syncer.until_room("leave", &room).await;
    alice.membership(&room, "unban", &bob.id).await.expect_ok();
    alice.invite(&room, &bob).await;
    syncer.until_room("invite", &room).await;
    bob.join(&room).await;
    syncer.until_room("join", &room).await;
    let sent = alice.send_text(&room, "welcome back").await;
    syncer.until_event(&room, &sent).await;
}

/// Without `include_leave` an initial sync has no left rooms, with it all of them, with their state and last events.
/// spec: client-server-api/#leaving-rooms
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn left_rooms_are_included_on_request() {
    let (alice, bob, room, _) = stage().await;
    chatter(&alice, &room, "message", 8).await;
    let current = super::view::current_state(&bob, &room).await;
    bob.leave(&room).await;
    alice.set_state(&room, "m.room.name", "", json!({"name": "Later"})).await;
    let without = bob.sync().filter(&without_presence()).await;
    assert!(!mentions(&without, &room), "{without}");
    let answer = bob.sync().filter(&with_left()).await;
    let entry = entry(&answer, "leave", &room);
    let timeline = events(entry, "timeline");
    assert_eq!(timeline.last().map(|event| &event["content"]["membership"]), Some(&json!("leave")));
    assert_eq!(bodies(&timeline), ["message 4", "message 5", "message 6", "message 7"], "{answer}");
    let mut told = state_of(entry);
    let own = ("m.room.member".to_owned(), bob.id.clone());
    assert_ne!(told.remove(&own), current.get(&own).cloned());
    let mut expected = current;
    expected.remove(&own);
    assert_eq!(told, expected);
}

/// Left rooms come with their account data.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn left_room_keeps_its_account_data() {
    let (_, bob, room, _) = stage().await;
    let path = path!("/v3/user/{}/rooms/{}/account_data/org.example.x", bob.id, room);
    bob.put(&path, json!({"n": 1})).await.expect_ok();
    bob.leave(&room).await;
    let answer = bob.sync().filter(&with_left()).await;
    let data = events(entry(&answer, "leave", &room), "account_data");
    assert_eq!(types(&data), ["org.example.x"], "{answer}");
}

/// A forgotten room is never there, even with `include_leave`.
/// spec: client-server-api/#leaving-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/forget
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn forgotten_room_is_gone() {
    let (_, bob, room, _) = stage().await;
    bob.leave(&room).await;
    bob.post(&path!("/v3/rooms/{}/forget", room), json!({})).await.expect_ok();
    let answer = bob.sync().filter(&with_left()).await;
    assert!(!mentions(&answer, &room), "{answer}");
}

/// A forgotten room comes back with an invite and with a join.
/// spec: client-server-api/#leaving-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/forget
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn forgotten_room_comes_back() {
    let (alice, bob, room, mut syncer) = stage().await;
    bob.leave(&room).await;
    syncer.until_room("leave", &room).await;
    bob.post(&path!("/v3/rooms/{}/forget", room), json!({})).await.expect_ok();
    alice.invite(&room, &bob).await;
    syncer.until_room("invite", &room).await;
    bob.join(&room).await;
    syncer.until_room("join", &room).await;
    let fresh = bob.login().await.sync().await;
    assert!(has_room(&fresh, "join", &room), "{fresh}");
}

/// Joining and leaving between two syncs shows the room among the left ones, or not at all, but not as joined.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn join_and_leave_between_syncs() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    let mut syncer = bob.syncer_with_filter(without_presence()).await;
    bob.join(&room).await;
    alice.send_text(&room, "while bob is there").await;
    bob.leave(&room).await;
    alice.send_text(&room, "behind bob's back").await;
    let answer = syncer.next(1_000).await;
    assert!(!has_room(&answer, "join", &room), "{answer}");
    assert!(!answer.to_string().contains("behind"), "{answer}");
}

/// Leaving and rejoining between two syncs is a joined room with both changes; nothing is missed.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn leave_and_rejoin_between_syncs() {
    let (alice, bob, room, mut syncer) = stage().await;
    bob.leave(&room).await;
    alice.send_text(&room, "while away").await;
    bob.join(&room).await;
    let back = alice.send_text(&room, "welcome back").await;
    let answer = syncer.until("the room", |answer| timeline_ids(answer, &room).contains(&back)).await;
    assert!(!has_room(&answer, "leave", &room), "{answer}");
    let timeline = events(entry(&answer, "join", &room), "timeline");
    // The history is shared, so what was said meanwhile may be seen.
    assert_eq!(bodies(&timeline), ["while away", "welcome back"], "{answer}");
    let own: Vec<_> = timeline.iter().filter(|event| event["state_key"] == bob.id.as_str()).collect();
    assert_eq!(own.last().map(|event| &event["content"]["membership"]), Some(&json!("join")), "{answer}");
}

/// Rejoining after a sync in between gives the whole room again.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn rejoined_room_comes_as_a_whole() {
    let (alice, bob, room, mut syncer) = stage().await;
    bob.leave(&room).await;
    syncer.until_room("leave", &room).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "new"})).await;
    bob.join(&room).await;
    let answer = syncer.next(5_000).await;
    let told = state_of(entry(&answer, "join", &room));
    assert_eq!(told, super::view::current_state(&bob, &room).await, "{answer}");
}

/// The others see the leave in their timeline, with what it replaced.
/// spec: client-server-api/#leaving-rooms
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn others_see_the_leave() {
    let (alice, bob, room, _) = stage().await;
    let mut syncer = alice.syncer().await;
    bob.leave(&room).await;
    let heard = syncer
        .until_some("the leave", |answer| {
            find(&sytest_like::timeline(answer, &room), "m.room.member", Some(&bob.id)).cloned()
        })
        .await;
    assert_eq!(heard["content"]["membership"], "leave");
    assert_eq!(heard["unsigned"]["prev_content"]["membership"], "join");
}

/// A gap before the leave is closed backwards from its `prev_batch`.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn gap_before_the_leave_can_be_filled() {
    let (alice, bob, room, syncer) = stage().await;
    let sent = chatter(&alice, &room, "message", 7).await;
    bob.leave(&room).await;
    alice.send_text(&room, "behind bob's back").await;
    let answer = bob.sync().since(&syncer.since).filter(&limit(3)).await;
    let timeline = &entry(&answer, "leave", &room)["timeline"];
    assert_eq!(timeline["limited"], true, "{answer}");
    let prev_batch = timeline["prev_batch"].as_str().expect("a gap has a beginning");
    let gap = super::view::walk_back(&bob, &room, prev_batch, 3, Some(&syncer.since)).await;
    assert_eq!(super::view::ids(&gap), sent[..5]);
}
