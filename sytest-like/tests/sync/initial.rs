//! Initial and incremental sync, and the parameters.

use std::time::{Duration, Instant};

use super::view::{
    chatter, current_state, entry, events, has_room, ids, limit, mentions, state_of, walk_back,
    without_presence,
};
use sytest_like::{Server, Value, json, path, timeline, timeline_ids};

/// A new user's sync is empty but for a place to continue from.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn new_user_has_no_rooms() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let answer = alice.sync().await;
    assert!(!answer.str("next_batch").is_empty(), "{answer}");
    for section in ["join", "invite", "knock", "leave"] {
        let rooms = answer.json["rooms"].get(section).and_then(Value::as_object);
        assert!(rooms.is_none_or(serde_json::Map::is_empty), "{answer}");
    }
}

/// Whatever the limit, `state` with the timeline on top is the room's current state, and no event is in both.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn state_and_timeline_make_the_current_state() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_room(json!({"preset": "public_chat", "name": "One", "topic": "First"})).await;
    bob.join(&room).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "Second"})).await;
    alice.send_text(&room, "hello").await;
    alice.set_state(&room, "m.room.name", "", json!({"name": "Two"})).await;
    alice.set_state(&room, "org.example.more", "key", json!({})).await;
    let current = current_state(&alice, &room).await;
    for events_wanted in 1..16 {
        let answer = alice.sync().filter(&limit(events_wanted)).await;
        let entry = entry(&answer, "join", &room);
        assert_eq!(state_of(entry), current, "with a limit of {events_wanted}");
        let shown = events(entry, "timeline");
        assert!(shown.len() <= events_wanted, "{} events with a limit of {events_wanted}", shown.len());
        let before = ids(&events(entry, "state"));
        let twice: Vec<_> =
            shown.iter().filter(|event| before.contains(&ids(&[(*event).clone()])[0])).collect();
        assert!(twice.is_empty(), "in both with a limit of {events_wanted}: {twice:?}");
    }
}

/// The timeline is in the order of sending, and ends with the newest event.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn timeline_is_in_order_of_sending() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let sent = chatter(&alice, &room, "message", 8).await;
    let answer = alice.sync().filter(&limit(5)).await;
    assert_eq!(timeline_ids(&answer, &room), sent[3..]);
}

/// Without a limit in the filter the server has one of its own, and says when it applied.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn long_history_is_limited_by_default() {
    const MANY: usize = 120;
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let sent = chatter(&alice, &room, "message", MANY).await;
    let answer = alice.sync().await;
    let shown = timeline_ids(&answer, &room);
    assert!(!shown.is_empty() && shown.len() < MANY, "{} events in the first timeline", shown.len());
    assert_eq!(shown, sent[MANY - shown.len()..]);
    let timeline = &entry(&answer, "join", &room)["timeline"];
    assert_eq!(timeline["limited"], true);
    assert!(timeline["prev_batch"].is_string());
}

/// Events come in the client format: what a client needs, and nothing of what servers tell each other.
/// spec: client-server-api/#room-event-format
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn events_have_the_client_format() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_room(json!({"preset": "public_chat", "name": "Format"})).await;
    alice.send_text(&room, "hello").await;
    let answer = alice.sync().filter(&limit(4)).await;
    let entry = entry(&answer, "join", &room);
    let (state, timeline) = (events(entry, "state"), events(entry, "timeline"));
    assert!(!state.is_empty() && !timeline.is_empty(), "{answer}");
    for event in state.iter().chain(&timeline) {
        for key in ["event_id", "type", "sender"] {
            assert!(event[key].is_string(), "{key} in {event}");
        }
        assert!(event["origin_server_ts"].is_i64() && event["content"].is_object(), "{event}");
        assert_eq!(event.get("state_key").is_some(), event["type"] != "m.room.message", "{event}");
        for key in ["auth_events", "prev_events", "hashes", "signatures", "depth", "origin"] {
            assert!(event.get(key).is_none(), "{key} in {event}");
        }
        if let Some(age) = event["unsigned"].get("age") {
            assert!(age.as_i64().is_some_and(|age| (0..600_000).contains(&age)), "{event}");
        }
    }
}

/// Without news an incremental sync has no rooms, and its token goes on.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn nothing_new_is_an_empty_answer() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let mut syncer = alice.syncer_with_filter(without_presence()).await;
    for _ in 0..3 {
        let quiet = syncer.next(0).await;
        assert!(!mentions(&quiet, &room), "{quiet}");
    }
    let sent = alice.send_text(&room, "hello").await;
    assert_eq!(timeline_ids(&syncer.next(5_000).await, &room), [sent]);
}

/// Only rooms with news are in an incremental sync.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn quiet_rooms_are_left_out() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (quiet, lively) = (alice.create_public_room().await, alice.create_public_room().await);
    let mut syncer = alice.syncer().await;
    let sent = alice.send_text(&lively, "hello").await;
    let answer = syncer.next(5_000).await;
    assert_eq!(timeline_ids(&answer, &lively), [sent]);
    assert!(!mentions(&answer, &quiet), "{answer}");
}

/// Other people's rooms are not in a sync.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn foreign_rooms_are_left_out() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    let mut syncer = bob.syncer_with_filter(without_presence()).await;
    assert!(!mentions(&syncer.initial, &room));
    alice.send_text(&room, "hello").await;
    let own = bob.create_public_room().await;
    syncer
        .until("the own room", |answer| {
            assert!(!mentions(answer, &room), "{answer}");
            has_room(answer, "join", &own)
        })
        .await;
}

/// A token that was used can be used again: the same news come again.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn token_can_be_used_again() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let since = alice.sync().await.str("next_batch").to_owned();
    let mut sent = vec![alice.send_text(&room, "one").await];
    assert_eq!(timeline_ids(&alice.sync().since(&since).filter(&limit(50)).await, &room), sent);
    sent.push(alice.send_text(&room, "two").await);
    for _ in 0..2 {
        let answer = alice.sync().since(&since).filter(&limit(51)).timeout(1).await;
        assert_eq!(timeline_ids(&answer, &room), sent);
    }
}

/// Each token of a long series still says exactly what came after it.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn tokens_of_any_age_say_what_came_after() {
    const MANY: usize = 12;
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let mut syncer = alice.syncer_with_filter(limit(100)).await;
    let (mut tokens, mut sent) = (vec![syncer.since.clone()], Vec::new());
    for number in 0..MANY {
        let event = alice.send_text(&room, &format!("message {number}")).await;
        syncer.until_event(&room, &event).await;
        tokens.push(syncer.since.clone());
        sent.push(event);
    }
    for (age, token) in tokens.iter().enumerate() {
        let answer = alice.sync().since(token).filter(&limit(100)).await;
        assert_eq!(timeline_ids(&answer, &room), sent[age..], "with the token of age {age}");
        if age < MANY {
            assert_ne!(entry(&answer, "join", &room)["timeline"]["limited"], true, "{answer}");
        }
    }
}

/// Two devices of a user follow the stream on their own.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn devices_follow_on_their_own() {
    let server = Server::shared().await;
    let phone = server.register("alice").await;
    let laptop = phone.login().await;
    let room = phone.create_public_room().await;
    let (mut on_phone, mut on_laptop) = (phone.syncer().await, laptop.syncer().await);
    let one = phone.send_text(&room, "one").await;
    on_phone.until_event(&room, &one).await;
    let two = laptop.send_text(&room, "two").await;
    assert_eq!(ids(&on_phone.until_event(&room, &two).await), [two.clone()]);
    assert_eq!(ids(&on_laptop.until_event(&room, &two).await), [one, two]);
}

/// A token can be handed from one device of a user to another.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn token_of_another_device_works() {
    let server = Server::shared().await;
    let phone = server.register("alice").await;
    let laptop = phone.login().await;
    let room = phone.create_public_room().await;
    let since = phone.sync().await.str("next_batch").to_owned();
    let sent = phone.send_text(&room, "one").await;
    assert_eq!(timeline_ids(&laptop.sync().since(&since).await, &room), [sent]);
}

/// A token tells nothing to a user whose it is not: they see their own rooms only.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn token_of_another_user_reveals_nothing() {
    let server = Server::shared().await;
    let (alice, mallory) = (server.register("alice").await, server.register("mallory").await);
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    let since = alice.sync().await.str("next_batch").to_owned();
    alice.send_text(&room, "secret").await;
    let answer = mallory.sync().since(&since).request().await;
    assert!(answer.status == 200 || (400..500).contains(&answer.status), "{answer}");
    assert!(!answer.to_string().contains(&room), "{answer}");
}

/// A room made between two syncs is there as a whole: state and timeline together are its current state.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn new_room_comes_as_a_whole() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for events_wanted in [1, 4, 50] {
        let mut syncer = alice.syncer_with_filter(limit(events_wanted)).await;
        let room = alice.create_room(json!({"preset": "public_chat", "name": "New", "topic": "x"})).await;
        let current = current_state(&alice, &room).await;
        let answer = syncer.until("the room", |answer| has_room(answer, "join", &room)).await;
        // The poll may have been answered while the room was still being made.
        let mut state = state_of(entry(&answer, "join", &room));
        while state != current {
            let more = syncer.next(5_000).await;
            super::view::apply(&mut state, &timeline(&more, &room));
        }
    }
}

/// All rooms of the user are in an initial sync.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn initial_sync_has_every_room() {
    const MANY: usize = 25;
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut rooms = Vec::new();
    for number in 0..MANY {
        let owner = if number % 2 == 0 { &alice } else { &bob };
        let room =
            owner.create_room(json!({"preset": "public_chat", "name": format!("Room {number}")})).await;
        alice.join(&room).await;
        rooms.push((room.clone(), alice.send_text(&room, "here").await));
    }
    let answer = alice.sync().filter(&limit(1)).await;
    assert_eq!(answer["rooms"]["join"].as_object().map(serde_json::Map::len), Some(MANY), "{answer}");
    for (room, last) in rooms {
        assert_eq!(timeline_ids(&answer, &room), [last]);
    }
}

/// Back from the first `prev_batch` is all the history before the timeline, without a hole or a repetition.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn prev_batch_leads_to_the_beginning() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let sent = chatter(&alice, &room, "message", 17).await;
    let answer = alice.sync().filter(&limit(4)).await;
    let entry = entry(&answer, "join", &room);
    let prev_batch = entry["timeline"]["prev_batch"].as_str().expect("there are earlier events");
    let mut all = walk_back(&alice, &room, prev_batch, 3, None).await;
    assert_eq!(all[0]["type"], "m.room.create", "history begins with the room");
    all.extend(events(entry, "timeline"));
    let messages: Vec<_> = all.iter().filter(|event| event["type"] == "m.room.message").cloned().collect();
    assert_eq!(ids(&messages), sent);
    let distinct: std::collections::BTreeSet<_> = ids(&all).into_iter().collect();
    assert_eq!(distinct.len(), all.len(), "an event came twice");
}

/// An initial sync does not wait, whatever the timeout.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn initial_sync_does_not_wait() {
    const SOON: Duration = Duration::from_secs(20);
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let before = Instant::now();
    alice.sync().timeout(60_000).await;
    assert!(before.elapsed() < SOON, "{:?}", before.elapsed());
}

/// Without a token, or with a wrong one, there is no sync.
/// spec: client-server-api/#using-access-tokens
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn sync_wants_a_token() {
    let server = Server::shared().await;
    server.get("/v3/sync").await.expect_err(401, "M_MISSING_TOKEN");
    server.get("/v3/sync").token("never").await.expect_err(401, "M_UNKNOWN_TOKEN");
    let alice = server.register("alice").await;
    let since = alice.sync().await.str("next_batch").to_owned();
    alice.post("/v3/logout", json!({})).await.expect_ok();
    alice.sync().since(&since).request().await.expect_err(401, "M_UNKNOWN_TOKEN");
}

/// A `since` that no server made is refused.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn broken_tokens_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for token in ["x", "garbage", "s", "-1", "{\"a\":1}", "s1_2_", "\u{1F600}"] {
        alice.sync().since(token).request().await.expect_refused();
    }
    let long = "9".repeat(3_000);
    alice.sync().since(long).request().await.expect_refused();
}

/// Parameters of the wrong kind are refused.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn broken_parameters_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for (name, value) in [
        ("timeout", "soon"),
        ("timeout", "1.5"),
        ("full_state", "perhaps"),
        ("set_presence", "busy"),
        ("filter", "{broken"),
        ("filter", "{\"room\":[]}"),
        ("filter", "never-stored"),
    ] {
        let answer = alice.sync().query(name, value).request().await;
        assert!((400..500).contains(&answer.status), "{name}={value}: {answer}");
        answer.expect_refused();
    }
}

/// A token from before a long pause with much traffic elsewhere still works in each room.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn old_token_covers_all_rooms_at_once() {
    const ROOMS: usize = 5;
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        let room = alice.create_public_room().await;
        bob.join(&room).await;
        rooms.push(room);
    }
    let since = bob.sync().await.str("next_batch").to_owned();
    let mut sent = Vec::new();
    for (number, room) in rooms.iter().enumerate() {
        sent.push(chatter(&alice, room, "message", number).await);
    }
    let answer = bob.sync().since(&since).filter(&limit(20)).await;
    assert!(!has_room(&answer, "join", &rooms[0]), "nothing happened there: {answer}");
    for (room, sent) in rooms.iter().zip(&sent).skip(1) {
        assert_eq!(timeline_ids(&answer, room), *sent);
    }
    bob.get(&path!("/v3/rooms/{}/messages", rooms[1])).query("dir", "b").await.expect_ok();
}
