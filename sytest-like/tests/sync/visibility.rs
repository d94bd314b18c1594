//! History visibility in `/sync`: who joins sees what they may, and no more.

use super::view::{bodies, entry, events, find, walk_back};
use sytest_like::{Server, User, Value, json, timeline};

/// A room whose history is visible as given; it says "before", somebody is invited, it says "invited", they join, it
/// says "after". Returns them and what their first sync and the walk behind it show.
async fn what_a_guest_sees(visibility: &str) -> (User, User, String, Vec<Value>) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let state = json!([{
        "type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": visibility},
    }]);
    let room = alice.create_room(json!({"preset": "private_chat", "initial_state": state})).await;
    alice.send_text(&room, "before").await;
    alice.invite(&room, &bob).await;
    alice.send_text(&room, "invited").await;
    let mut syncer = bob.syncer().await;
    bob.join(&room).await;
    let last = alice.send_text(&room, "after").await;
    let mut first = None;
    let mut shown = Vec::new();
    while !super::view::ids(&shown).contains(&last) {
        let answer = syncer.next(5_000).await;
        shown.extend(timeline(&answer, &room));
        first.get_or_insert(answer);
    }
    let first = first.expect("there was an answer");
    if let Some(prev_batch) = entry(&first, "join", &room)["timeline"]["prev_batch"].as_str() {
        shown = with_history(walk_back(&bob, &room, prev_batch, 5, None).await, shown);
    }
    (alice, bob, room, shown)
}

/// History, then the timeline. What is asked here is what is seen, so an event may be in both.
fn with_history(history: Vec<Value>, timeline: Vec<Value>) -> Vec<Value> {
    let known = super::view::ids(&timeline);
    let mut all: Vec<_> = history
        .into_iter()
        .filter(|event| !known.iter().any(|id| event["event_id"] == id.as_str()))
        .collect();
    all.extend(timeline);
    all
}

/// `joined`: from the own join on.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn joined_history_begins_with_the_join() {
    let (_, bob, _, shown) = what_a_guest_sees("joined").await;
    assert_eq!(bodies(&shown), ["after"]);
    let own: Vec<_> = shown.iter().filter(|event| event["state_key"] == bob.id.as_str()).collect();
    let joined = own.last().map(|event| &event["content"]["membership"]);
    assert_eq!(joined, Some(&json!("join")), "{shown:?}");
}

/// `invited`: from the invite on.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn invited_history_begins_with_the_invite() {
    let (_, _, _, shown) = what_a_guest_sees("invited").await;
    assert_eq!(bodies(&shown), ["invited", "after"]);
}

/// `shared`: everything, since the joining.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn shared_history_is_whole() {
    let (_, _, _, shown) = what_a_guest_sees("shared").await;
    assert_eq!(bodies(&shown), ["before", "invited", "after"]);
    assert_eq!(shown[0]["type"], "m.room.create", "{shown:?}");
}

/// `world_readable`: everything.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn world_readable_history_is_whole() {
    let (_, _, _, shown) = what_a_guest_sees("world_readable").await;
    assert_eq!(bodies(&shown), ["before", "invited", "after"]);
}

/// A value that nobody knows counts as `shared`.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn unknown_visibility_counts_as_shared() {
    let (_, _, _, shown) = what_a_guest_sees("org.example.moonlight").await;
    assert_eq!(bodies(&shown), ["before", "invited", "after"]);
}

/// What was said under a stricter rule stays hidden when the rule is loosened later.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn loosening_is_not_retroactive() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    let rule = async |visibility: &str| {
        let content = json!({"history_visibility": visibility});
        alice.set_state(&room, "m.room.history_visibility", "", content).await
    };
    alice.send_text(&room, "open").await;
    rule("joined").await;
    alice.send_text(&room, "closed").await;
    let change = rule("shared").await;
    alice.send_text(&room, "open again").await;
    let mut syncer = bob.syncer().await;
    bob.join(&room).await;
    let answer = syncer.next(5_000).await;
    let entry = entry(&answer, "join", &room);
    let history = match entry["timeline"]["prev_batch"].as_str() {
        Some(prev_batch) => walk_back(&bob, &room, prev_batch, 5, None).await,
        None => Vec::new(),
    };
    let shown = with_history(history, events(entry, "timeline"));
    assert_eq!(bodies(&shown), ["open", "open again"], "{shown:?}");
    assert!(super::view::ids(&shown).contains(&change), "the change itself may be seen: {shown:?}");
}

/// Who comes back does not see what was said meanwhile in a room where that is for members only.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn absence_is_not_filled_in() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let state = json!([{
        "type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"},
    }]);
    let room = alice.create_room(json!({"preset": "public_chat", "initial_state": state})).await;
    bob.join(&room).await;
    let mut syncer = bob.syncer().await;
    alice.send_text(&room, "one").await;
    bob.leave(&room).await;
    alice.send_text(&room, "two").await;
    bob.join(&room).await;
    let last = alice.send_text(&room, "three").await;
    let heard = syncer.until_event(&room, &last).await;
    assert_eq!(bodies(&heard), ["one", "three"], "{heard:?}");
    let fresh = bob.login().await.sync().await;
    let shown = timeline(&fresh, &room);
    assert_eq!(bodies(&shown), ["one", "three"], "{fresh}");
    assert!(find(&shown, "m.room.member", Some(&bob.id)).is_some(), "{fresh}");
}
