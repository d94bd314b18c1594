//! `full_state`, and how state events are told.

use super::view::{chatter, current_state, entry, events, find, ids, limit, members, state_of};
use sytest_like::{Server, User, json, timeline, timeline_ids};

async fn pair() -> (User, User, String) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_room(json!({"preset": "public_chat", "name": "Name"})).await;
    bob.join(&room).await;
    (alice, bob, room)
}

/// With `full_state` an incremental sync has all state, while the timeline has only the news.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn full_state_has_all_state() {
    let (alice, bob, room) = pair().await;
    let since = bob.sync().await.str("next_batch").to_owned();
    let sent = alice.send_text(&room, "news").await;
    let answer = bob.sync().since(&since).query("full_state", "true").await;
    let entry = entry(&answer, "join", &room);
    assert_eq!(timeline_ids(&answer, &room), [sent]);
    assert_eq!(state_of(entry), current_state(&bob, &room).await, "{answer}");
}

/// It covers rooms without news too, and it is for one answer only.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn full_state_covers_quiet_rooms() {
    let (_, bob, room) = pair().await;
    let other = bob.create_public_room().await;
    let since = bob.sync().await.str("next_batch").to_owned();
    let answer = bob.sync().since(&since).filter(&limit(5)).query("full_state", "true").await;
    for room in [&room, &other] {
        let entry = entry(&answer, "join", room);
        assert!(events(entry, "timeline").is_empty(), "{answer}");
        assert_eq!(state_of(entry), current_state(&bob, room).await);
    }
    let after = bob.sync().since(answer.str("next_batch")).filter(&limit(5)).await;
    assert!(!super::view::mentions(&after, &room), "{after}");
}

/// With a timeline that has state changes, `full_state` is the state before them.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn full_state_is_that_before_the_timeline() {
    let (alice, bob, room) = pair().await;
    let since = bob.sync().await.str("next_batch").to_owned();
    let before = current_state(&bob, &room).await;
    let name = alice.set_state(&room, "m.room.name", "", json!({"name": "New name"})).await;
    let answer = bob.sync().since(&since).query("full_state", "true").await;
    let entry = entry(&answer, "join", &room);
    let mut told = super::view::State::new();
    super::view::apply(&mut told, &events(entry, "state"));
    assert_eq!(told, before, "{answer}");
    assert_eq!(timeline_ids(&answer, &room), [name]);
}

/// Any other value than `true` and `false` is refused, `false` is the default.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn full_state_false_is_the_default() {
    let (_, bob, room) = pair().await;
    let since = bob.sync().await.str("next_batch").to_owned();
    let answer = bob.sync().since(&since).filter(&limit(3)).query("full_state", "false").await;
    assert!(!super::view::mentions(&answer, &room), "{answer}");
    bob.sync().since(&since).query("full_state", "1").request().await.expect_refused();
}

/// A state event tells what it replaced.
/// spec: client-server-api/#room-event-format
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn state_event_tells_what_it_replaced() {
    let (alice, bob, room) = pair().await;
    let mut syncer = bob.syncer().await;
    let first = alice.set_state(&room, "m.room.topic", "", json!({"topic": "one"})).await;
    let second = alice.set_state(&room, "m.room.topic", "", json!({"topic": "two"})).await;
    let heard = syncer.until_event(&room, &second).await;
    let event = |id: &str| heard.iter().find(|event| event["event_id"] == id).expect("it was heard");
    assert!(event(&first)["unsigned"].get("prev_content").is_none(), "{heard:?}");
    assert_eq!(event(&second)["unsigned"]["prev_content"], json!({"topic": "one"}));
    assert_eq!(event(&second)["unsigned"]["replaces_state"], first.as_str());
}

/// A member's change of name comes as a state event in the timeline, with the old name.
/// spec: client-server-api/#events-on-change-of-profile-information
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn change_of_name_is_told() {
    let (alice, bob, room) = pair().await;
    let mut syncer = bob.syncer().await;
    let path = sytest_like::path!("/v3/profile/{}/displayname", alice.id);
    alice.put(&path, json!({"displayname": "Alice the First"})).await.expect_ok();
    let event = syncer
        .until_some("the new name", |answer| {
            find(&timeline(answer, &room), "m.room.member", Some(&alice.id)).cloned()
        })
        .await;
    assert_eq!(event["content"]["displayname"], "Alice the First");
    assert_eq!(event["content"]["membership"], "join");
    assert_ne!(event["unsigned"]["prev_content"]["displayname"], "Alice the First");
}

/// Setting state to what it is already makes no news, or an event; in both cases the state told stays current.
/// spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn repeated_state_stays_consistent() {
    let (alice, bob, room) = pair().await;
    let first = bob.sync().filter(&limit(2)).await;
    let mut state = state_of(entry(&first, "join", &room));
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "same"})).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "same"})).await;
    let sent = alice.send_text(&room, "after").await;
    let answer = bob.sync().since(first.str("next_batch")).filter(&limit(9)).await;
    let timeline = timeline(&answer, &room);
    assert_eq!(ids(&timeline).last(), Some(&sent));
    super::view::apply(&mut state, &timeline);
    assert_eq!(state, current_state(&bob, &room).await);
}

/// Initial syncs of a room with many members have all of them when members are not lazy.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn all_members_are_in_the_state() {
    const MANY: usize = 12;
    let (alice, _, room) = pair().await;
    let mut everybody = current_state(&alice, &room).await;
    everybody.retain(|(kind, _), _| kind == "m.room.member");
    for _ in 0..MANY {
        let guest = alice.server.register("guest").await;
        guest.join(&room).await;
    }
    chatter(&alice, &room, "message", 3).await;
    let answer = alice.sync().filter(&limit(3)).await;
    let told = members(&events(entry(&answer, "join", &room), "state"));
    assert_eq!(told.len(), MANY + everybody.len(), "{answer}");
}
