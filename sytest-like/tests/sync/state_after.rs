//! `use_state_after`: the state at the end of the timeline instead of at its start.

use super::view::{
    State, apply, chatter, current_state, entry, events, has_room, ids, limit, members, state_after,
    use_state_after,
};
use sytest_like::{Response, Server, User, Value, against_synapse, json, timeline_ids};

async fn pair() -> (User, User, String) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_room(json!({"preset": "public_chat", "name": "Name"})).await;
    bob.join(&room).await;
    (alice, bob, room)
}

async fn sync(user: &User, since: Option<&str>, filter: &Value) -> Response {
    let mut request = user.sync().filter(filter).query(use_state_after(), "true");
    if let Some(since) = since {
        request = request.since(since);
    }
    request.await
}

fn told(entry: &Value) -> State {
    let mut state = State::new();
    apply(&mut state, &state_after(entry));
    state
}

/// In an initial sync `state_after` is the current state, whatever the timeline has, and `state` is not there.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn initial_state_after_is_the_current_state() {
    let (alice, bob, room) = pair().await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "one"})).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "two"})).await;
    let current = current_state(&bob, &room).await;
    for events_wanted in [1, 2, 4, 30] {
        let answer = sync(&bob, None, &limit(events_wanted)).await;
        let entry = entry(&answer, "join", &room);
        assert_eq!(told(entry), current, "with a limit of {events_wanted}");
        assert!(entry.get("state").is_none(), "{answer}");
    }
}

/// In an incremental sync it has the state changes of the timeline as well.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn changes_in_the_timeline_are_in_state_after() {
    let (alice, bob, room) = pair().await;
    let since = bob.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "replaced"})).await;
    let topic = alice.set_state(&room, "m.room.topic", "", json!({"topic": "last"})).await;
    alice.send_text(&room, "message").await;
    let answer = sync(&bob, Some(&since), &limit(10)).await;
    let entry = entry(&answer, "join", &room);
    assert_eq!(ids(&state_after(entry)), [topic], "{answer}");
    assert_eq!(events(entry, "timeline").len(), 3);
    assert!(entry.get("state").is_none(), "{answer}");
}

/// Over a gap it has the changes of the gap and of the timeline, the last value each.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn gap_and_timeline_are_in_state_after() {
    let (alice, bob, room) = pair().await;
    let since = bob.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "in the gap"})).await;
    let custom = alice.set_state(&room, "org.example.x", "", json!({"n": 1})).await;
    chatter(&alice, &room, "message", 4).await;
    let topic = alice.set_state(&room, "m.room.topic", "", json!({"topic": "in the timeline"})).await;
    let answer = sync(&bob, Some(&since), &limit(2)).await;
    let entry = entry(&answer, "join", &room);
    let mut given = ids(&state_after(entry));
    given.sort();
    let mut expected = vec![topic, custom];
    expected.sort();
    assert_eq!(given, expected, "{answer}");
}

/// Without state changes it is there and empty.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn empty_state_after_is_there() {
    let (alice, bob, room) = pair().await;
    let since = bob.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    alice.send_text(&room, "message").await;
    let answer = sync(&bob, Some(&since), &limit(2)).await;
    assert!(state_after(entry(&answer, "join", &room)).is_empty(), "{answer}");
}

/// Without the parameter there is no `state_after`.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn state_after_is_only_on_request() {
    let (alice, bob, room) = pair().await;
    let since = bob.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "x"})).await;
    for value in ["", "false"] {
        let mut request = bob.sync().since(&since).filter(&limit(5));
        if !value.is_empty() {
            request = request.query(use_state_after(), value);
        }
        let answer = request.await;
        assert!(entry(&answer, "join", &room).get("state_after").is_none(), "{answer}");
    }
}

/// A client that takes its state from `state_after` alone is right after every sync.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn following_by_state_after_keeps_the_state() {
    let (alice, bob, room) = pair().await;
    let first = sync(&bob, None, &limit(2)).await;
    let mut state = told(entry(&first, "join", &room));
    let mut since = first.str("next_batch").to_owned();
    for round in 0..6_usize {
        for number in 0..=round {
            let key = format!("{}", number % 3);
            alice.set_state(&room, "org.example.x", &key, json!({"n": [round, number]})).await;
            alice.send_text(&room, "between").await;
        }
        let answer = sync(&bob, Some(&since), &limit(1 + round % 3)).await;
        answer.str("next_batch").clone_into(&mut since);
        apply(&mut state, &state_after(entry(&answer, "join", &room)));
        assert_eq!(state, current_state(&bob, &room).await, "after round {round}");
    }
}

/// Left rooms have it too: the state when the user left.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn left_rooms_have_state_after() {
    let (alice, bob, room) = pair().await;
    let since = bob.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    let topic = alice.set_state(&room, "m.room.topic", "", json!({"topic": "last"})).await;
    bob.leave(&room).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "behind bob's back"})).await;
    let answer = sync(&bob, Some(&since), &limit(5)).await;
    let given = state_after(entry(&answer, "leave", &room));
    assert!(ids(&given).contains(&topic), "{answer}");
    assert!(members(&given).contains(&bob.id), "{answer}");
    assert!(entry(&answer, "leave", &room).get("state").is_none(), "{answer}");
    assert!(!answer.to_string().contains("behind"), "{answer}");
}

/// With lazy members it has the senders of the timeline, and what changed.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn state_after_with_lazy_members() {
    let (alice, bob, room) = pair().await;
    let carol = alice.server.register("carol").await;
    carol.join(&room).await;
    chatter(&alice, &room, "message", 3).await;
    let filter = json!({"room": {"timeline": {"limit": 2}, "state": {"lazy_load_members": true}}});
    let answer = sync(&bob, None, &filter).await;
    let given = members(&state_after(entry(&answer, "join", &room)));
    assert!(given.contains(&alice.id) && given.contains(&bob.id), "{answer}");
    let since = answer.str("next_batch").to_owned();
    let dora = alice.server.register("dora").await;
    dora.join(&room).await;
    let answer = sync(&bob, Some(&since), &filter).await;
    assert!(members(&state_after(entry(&answer, "join", &room))).contains(&dora.id), "{answer}");
}

/// `full_state` goes together with it: all state at the end of the timeline.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn full_state_after() {
    let (alice, bob, room) = pair().await;
    let since = bob.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    let name = alice.set_state(&room, "m.room.name", "", json!({"name": "New"})).await;
    let request = bob.sync().since(&since).filter(&limit(5)).query(use_state_after(), "true");
    let answer = request.query("full_state", "true").await;
    assert_eq!(told(entry(&answer, "join", &room)), current_state(&bob, &room).await);
    assert_eq!(timeline_ids(&answer, &room), [name]);
}

/// Clients of today ask under the name of the proposal; they are understood or told nothing of it, never half.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn unstable_name_is_whole_or_not_at_all() {
    let (alice, bob, room) = pair().await;
    alice.send_text(&room, "message").await;
    let answer = bob.sync().filter(&limit(2)).query("org.matrix.msc4222.use_state_after", "true").await;
    assert!(has_room(&answer, "join", &room));
    let entry = entry(&answer, "join", &room);
    let unstable = entry.get("org.matrix.msc4222.state_after").is_some();
    assert!(unstable != entry.get("state").is_some(), "{answer}");
    assert!(unstable || !against_synapse(), "{answer}");
}
