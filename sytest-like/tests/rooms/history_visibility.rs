//! Who may read what was said when.

use std::collections::BTreeMap;

use sytest_like::{User, json, path, timeline};

use super::ground::{bodies, page, state_event, try_state, two, walk};

/// What alice says at each station of bob's life in the room.
const STATIONS: [&str; 5] = ["before", "invited", "joined", "left", "rejoined"];

/// A room of alice's with a history visibility from the start, which anybody may join.
async fn room_of(alice: &User, visibility: &str) -> String {
    alice
        .create_room(json!({
            "preset": "public_chat",
            "initial_state": [{
                "type": "m.room.history_visibility",
                "content": {"history_visibility": visibility},
            }],
        }))
        .await
}

/// What bob reads of `said`, asked in every way; the ways must agree.
async fn reads(bob: &User, room: &str, said: &BTreeMap<&str, String>) -> Vec<&'static str> {
    let mut one_by_one = Vec::new();
    let mut by_context = Vec::new();
    for station in STATIONS {
        let Some(event) = said.get(station) else { continue };
        let answer = bob.get_event(room, event).await;
        if answer.status == 200 {
            one_by_one.push(station);
        } else {
            answer.expect_err_of(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
        }
        let context = bob.get(&path!("/v3/rooms/{}/context/{}", room, event)).await;
        if context.status == 200 {
            by_context.push(station);
        }
    }
    let forwards = walk(bob, room, "f", 4).await;
    let backwards = walk(bob, room, "b", 4).await;
    assert_eq!(bodies(&forwards), one_by_one, "pages forwards against single events");
    assert_eq!(by_context, one_by_one, "context against single events");
    let mut reversed = bodies(&backwards);
    reversed.reverse();
    assert_eq!(reversed, one_by_one, "pages backwards against single events");
    one_by_one
}

/// Leads bob through the stations and tells what he reads when he has joined, and when he is back after leaving.
async fn life(visibility: &str) -> [Vec<&'static str>; 2] {
    let (alice, bob) = two().await;
    let room = room_of(&alice, visibility).await;
    let mut said = BTreeMap::new();
    said.insert("before", alice.send_text(&room, "before").await);
    alice.invite(&room, &bob).await;
    said.insert("invited", alice.send_text(&room, "invited").await);
    bob.join(&room).await;
    said.insert("joined", alice.send_text(&room, "joined").await);
    let joined = reads(&bob, &room, &said).await;
    bob.leave(&room).await;
    said.insert("left", alice.send_text(&room, "left").await);
    bob.join(&room).await;
    said.insert("rejoined", alice.send_text(&room, "rejoined").await);
    let rejoined = reads(&bob, &room, &said).await;
    [joined, rejoined]
}

/// What bob reads after leaving.
async fn afterlife(visibility: &str) -> Vec<&'static str> {
    let (alice, bob) = two().await;
    let room = room_of(&alice, visibility).await;
    let mut said = BTreeMap::new();
    said.insert("before", alice.send_text(&room, "before").await);
    bob.join(&room).await;
    said.insert("joined", alice.send_text(&room, "joined").await);
    bob.leave(&room).await;
    said.insert("left", alice.send_text(&room, "left").await);
    reads(&bob, &room, &said).await
}

/// World-readable history is read by members from its beginning to its end.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn world_readable_history_is_read_by_all() {
    let [joined, rejoined] = life("world_readable").await;
    assert_eq!(joined, ["before", "invited", "joined"]);
    assert_eq!(rejoined, STATIONS);
}

/// Who left a world-readable room may go on reading single events.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn world_readable_history_is_read_after_leaving() {
    let (alice, bob) = two().await;
    let room = room_of(&alice, "world_readable").await;
    bob.join(&room).await;
    bob.leave(&room).await;
    let event = alice.send_text(&room, "for all").await;
    bob.get_event(&room, &event).await.expect_ok().has("/content/body", "for all");
}

/// Shared history is read from the beginning.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn shared_history_is_read_from_the_beginning() {
    let [joined, rejoined] = life("shared").await;
    assert_eq!(joined, ["before", "invited", "joined"]);
    assert_eq!(rejoined, STATIONS);
}

/// Who left reads shared history up to then.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn shared_history_ends_with_leaving() {
    assert_eq!(afterlife("shared").await, ["before", "joined"]);
}

/// With `invited` history is read from the invite on, except for the time away.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn invited_history_is_read_from_the_invite() {
    let [joined, rejoined] = life("invited").await;
    assert_eq!(joined, ["invited", "joined"]);
    assert_eq!(rejoined, ["invited", "joined", "rejoined"]);
    assert_eq!(afterlife("invited").await, ["joined"]);
}

/// With `joined` history is read from the join on, except for the time away.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn joined_history_is_read_from_the_join() {
    let [joined, rejoined] = life("joined").await;
    assert_eq!(joined, ["joined"]);
    assert_eq!(rejoined, ["joined", "rejoined"]);
    assert_eq!(afterlife("joined").await, ["joined"]);
}

/// Visibilities that nobody knows are as `shared`.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn unknown_visibility_is_shared() {
    let [joined, rejoined] = life("org.example.unknown").await;
    assert_eq!(joined, ["before", "invited", "joined"]);
    assert_eq!(rejoined, STATIONS);
}

/// Before joining, only world-readable history is read, invited or not.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
#[tokio::test]
async fn invited_users_wait_until_they_join() {
    let (alice, bob) = two().await;
    for visibility in ["shared", "invited", "joined"] {
        let room = room_of(&alice, visibility).await;
        let before = alice.send_text(&room, "before").await;
        alice.invite(&room, &bob).await;
        alice.send_text(&room, "since").await;
        page(&bob, &room, "b").await.expect_err(403, "M_FORBIDDEN");
        bob.get(&path!("/v3/rooms/{}/state", room)).await.expect_err(403, "M_FORBIDDEN");
        bob.get_event(&room, &before).await.expect_refused();
    }
}

/// A world-readable room is open to strangers: messages, single events, context, state.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn strangers_read_a_world_readable_room() {
    let (alice, bob) = two().await;
    let room = room_of(&alice, "world_readable").await;
    alice.set_state(&room, "m.room.name", "", json!({"name": "Town square"})).await;
    let event = alice.send_text(&room, "hear, hear").await;
    assert_eq!(bodies(&walk(&bob, &room, "b", 5).await), ["hear, hear"]);
    bob.get_event(&room, &event).await.expect_ok().has("/content/body", "hear, hear");
    bob.get(&path!("/v3/rooms/{}/context/{}", room, event)).await.expect_ok();
    bob.get_state(&room, "m.room.name", "").await.expect_ok().has("name", "Town square");
    super::ground::try_text(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
}

/// The others are closed to strangers.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn strangers_read_no_other_room() {
    let (alice, bob) = two().await;
    for visibility in ["shared", "invited", "joined"] {
        let room = room_of(&alice, visibility).await;
        let event = alice.send_text(&room, "secret").await;
        page(&bob, &room, "b").await.expect_err(403, "M_FORBIDDEN");
        bob.get_event(&room, &event).await.expect_refused();
        bob.get(&path!("/v3/rooms/{}/context/{}", room, event)).await.expect_refused();
        bob.get_state(&room, "m.room.create", "").await.expect_err(403, "M_FORBIDDEN");
    }
}

/// What counts is the visibility when something was said: opening a room later opens nothing of before.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn opening_a_room_opens_nothing_of_before() {
    let (alice, bob) = two().await;
    let room = room_of(&alice, "joined").await;
    let hidden = alice.send_text(&room, "hidden").await;
    alice.set_state(&room, "m.room.history_visibility", "", json!({"history_visibility": "shared"})).await;
    alice.send_text(&room, "open").await;
    bob.join(&room).await;
    assert_eq!(bodies(&walk(&bob, &room, "b", 5).await), ["open"]);
    bob.get_event(&room, &hidden).await.expect_err(404, "M_NOT_FOUND");
}

/// And closing it closes nothing of before.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn closing_a_room_closes_nothing_of_before() {
    let (alice, bob) = two().await;
    let room = room_of(&alice, "shared").await;
    let open = alice.send_text(&room, "open").await;
    alice.set_state(&room, "m.room.history_visibility", "", json!({"history_visibility": "joined"})).await;
    alice.send_text(&room, "hidden").await;
    bob.join(&room).await;
    alice.send_text(&room, "since").await;
    assert_eq!(bodies(&walk(&bob, &room, "f", 5).await), ["open", "since"]);
    bob.get_event(&room, &open).await.expect_ok();
}

/// The change of visibility itself is read by who could read before or after it.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn change_of_visibility_is_read_on_either_side() {
    let (alice, bob) = two().await;
    let kind = "m.room.history_visibility";
    let room = room_of(&alice, "joined").await;
    let opened = alice.set_state(&room, kind, "", json!({"history_visibility": "shared"})).await;
    let closed = alice.set_state(&room, kind, "", json!({"history_visibility": "joined"})).await;
    bob.join(&room).await;
    bob.get_event(&room, &opened).await.expect_ok();
    bob.get_event(&room, &closed).await.expect_ok();
}

/// A change between visibilities neither of which opens anything is not read.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn change_between_closed_visibilities_is_not_read() {
    let (alice, bob) = two().await;
    let room = room_of(&alice, "joined").await;
    let content = json!({"history_visibility": "invited"});
    let hidden = alice.set_state(&room, "m.room.history_visibility", "", content).await;
    bob.join(&room).await;
    bob.get_event(&room, &hidden).await.expect_err(404, "M_NOT_FOUND");
}

/// One always reads one's own coming and going.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn own_coming_and_going_is_read() {
    let (alice, bob) = two().await;
    let room = room_of(&alice, "joined").await;
    alice.send_text(&room, "hidden").await;
    let own = || async {
        let event = state_event(&alice, &room, "m.room.member", &bob.id).await;
        event["event_id"].as_str().expect("an id").to_owned()
    };
    bob.join(&room).await;
    let join = own().await;
    bob.leave(&room).await;
    let leave = own().await;
    // What stood before the visibility was set is shared; of what came after there is bob's own alone.
    let walked = walk(&bob, &room, "f", 5).await;
    assert_eq!(bodies(&walked), Vec::<&str>::new());
    assert_eq!(super::ground::ids(&walked)[walked.len() - 2..], [join.as_str(), leave.as_str()]);
    for event in [&join, &leave] {
        bob.get_event(&room, event).await.expect_ok();
    }
}

/// The first sync after a join shows no more than the history that one may read.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn sync_shows_only_what_may_be_read() {
    let (alice, bob) = two().await;
    for (visibility, expected) in [
        ("world_readable", vec!["before", "invited", "joined"]),
        ("shared", vec!["before", "invited", "joined"]),
        ("invited", vec!["invited", "joined"]),
        ("joined", vec!["joined"]),
    ] {
        let room = room_of(&alice, visibility).await;
        alice.send_text(&room, "before").await;
        alice.invite(&room, &bob).await;
        alice.send_text(&room, "invited").await;
        bob.join(&room).await;
        alice.send_text(&room, "joined").await;
        let sync = bob.sync().filter(&json!({"room": {"timeline": {"limit": 50}}})).await;
        assert_eq!(bodies(&timeline(&sync, &room)), expected, "{visibility}");
        // The state is whole all the same.
        bob.get_state(&room, "m.room.create", "").await.expect_ok();
    }
}

/// An invite that was declined gives nothing to read.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
#[tokio::test]
async fn declined_invite_gives_nothing_to_read() {
    let (alice, bob) = two().await;
    for visibility in ["shared", "invited", "joined"] {
        let room = room_of(&alice, visibility).await;
        let event = alice.send_text(&room, "before").await;
        alice.invite(&room, &bob).await;
        let during = alice.send_text(&room, "during").await;
        bob.leave(&room).await;
        let answer = page(&bob, &room, "b").await;
        if answer.status == 200 {
            assert!(bodies(answer.array("chunk")).is_empty(), "{visibility}: {answer}");
        } else {
            answer.expect_err(403, "M_FORBIDDEN");
        }
        bob.get_event(&room, &event).await.expect_refused();
        if visibility != "invited" {
            bob.get_event(&room, &during).await.expect_refused();
        }
    }
}

/// Changing the visibility needs the level for it.
/// spec: client-server-api/#permissions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn visibility_needs_its_level() {
    let (alice, bob) = two().await;
    let room = room_of(&alice, "joined").await;
    bob.join(&room).await;
    let content = json!({"history_visibility": "world_readable"});
    try_state(&bob, &room, "m.room.history_visibility", "", content).await.expect_err(403, "M_FORBIDDEN");
}
