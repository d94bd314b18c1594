//! Walking through the history of a room.

use std::collections::HashSet;

use sytest_like::{Server, User, Value, json, timeline_ids};

use super::ground::{bodies, ids, page, room_with, send_numbered, three, two, walk, walk_from};

async fn filtered(user: &User, room: &str, filter: Value) -> Vec<Value> {
    let answer =
        page(user, room, "b").query("limit", "50").query("filter", filter.to_string()).await.expect_ok();
    answer.array("chunk").clone()
}

/// A walk through a long room yields every event once, whatever the size of the pages, and both ways the same.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn walk_yields_every_event_once() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let sent = send_numbered(&alice, &room, 64).await;
    let mut whole: Option<Vec<String>> = None;
    for limit in [1, 7, 10, 64, 100] {
        let backwards = walk(&bob, &room, "b", limit).await;
        let mut forwards: Vec<String> = ids(&backwards).into_iter().rev().map(str::to_owned).collect();
        assert_eq!(forwards.iter().collect::<HashSet<_>>().len(), forwards.len(), "limit {limit}");
        assert_eq!(ids(&walk(&bob, &room, "f", limit).await), forwards, "limit {limit}");
        assert_eq!(*whole.get_or_insert_with(|| forwards.clone()), forwards, "limit {limit}");
        assert_eq!(forwards.split_off(forwards.len() - sent.len()), sent);
        assert_eq!(backwards.last().expect("events")["type"], "m.room.create");
    }
}

/// Without a token one starts at the last event, or at the first.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn without_a_token_one_starts_at_an_end() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let sent = send_numbered(&alice, &room, 12).await;
    let newest = page(&bob, &room, "b").await.expect_ok();
    // Ten is the default.
    let expected: Vec<String> = sent.iter().rev().take(10).cloned().collect();
    assert_eq!(newest.column("chunk", "event_id"), expected);
    let oldest = page(&bob, &room, "f").query("limit", "2").await.expect_ok();
    assert_eq!(oldest["/chunk/0/type"], "m.room.create");
    assert_eq!(oldest["/chunk/1/type"], "m.room.member");
}

/// A page begins where it was asked to, and ends with the next place, or with none.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn pages_have_a_start_and_an_end() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    send_numbered(&alice, &room, 12).await;
    let first = page(&bob, &room, "b").query("limit", "5").await.expect_ok();
    assert!(!first.str("start").is_empty());
    let second = page(&bob, &room, "b").query("limit", "5").query("from", first.str("end")).await.expect_ok();
    assert_eq!(second["start"], first["end"]);
    let rest = page(&bob, &room, "b").query("limit", "50").query("from", second.str("end")).await.expect_ok();
    let whole = match rest.get("end").and_then(Value::as_str) {
        None => rest,
        Some(end) => page(&bob, &room, "b").query("limit", "50").query("from", end).await.expect_ok(),
    };
    whole.expect_absent("end");
}

/// One can turn round at any place.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn one_can_turn_round() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let sent = send_numbered(&alice, &room, 20).await;
    let back = page(&bob, &room, "b").query("limit", "8").await.expect_ok();
    let forth = page(&bob, &room, "f").query("limit", "50").query("from", back.str("end")).await.expect_ok();
    assert_eq!(forth.column("chunk", "event_id"), sent[12..]);
    let again = page(&bob, &room, "b").query("limit", "3").query("from", back.str("end")).await.expect_ok();
    let expected: Vec<String> = sent[..12].iter().rev().take(3).cloned().collect();
    assert_eq!(again.column("chunk", "event_id"), expected);
}

/// From a sync one walks back from `prev_batch` and on from `next_batch`, and has everything once.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn walks_start_from_a_sync() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let mut sent = send_numbered(&alice, &room, 15).await;
    let sync = bob.sync().filter(&json!({"room": {"timeline": {"limit": 4}}})).await;
    let shown = timeline_ids(&sync, &room);
    assert_eq!(shown, sent[11..]);
    let previous = sync["rooms"]["join"][&room]["timeline"]["prev_batch"].as_str().expect("prev_batch");
    let earlier = walk_from(&bob, &room, "b", 4, Some(previous)).await;
    let mut back: Vec<&str> = ids(&earlier);
    back.truncate(11);
    let expected: Vec<&String> = sent[..11].iter().rev().collect();
    assert_eq!(back, expected);
    let next = sync.str("next_batch");
    let later = send_numbered(&alice, &room, 6).await;
    assert_eq!(ids(&walk_from(&bob, &room, "f", 4, Some(next)).await), later);
    // The other way round as well: backwards from a sync's end there is what the sync showed.
    let answer = page(&bob, &room, "b").query("limit", "4").query("from", next).await.expect_ok();
    sent.reverse();
    assert_eq!(answer.column("chunk", "event_id"), sent[..4]);
}

/// `to` is where a walk ends, both ways.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn to_is_where_the_walk_ends() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let first = send_numbered(&alice, &room, 4).await;
    let left = bob.sync().await.str("next_batch").to_owned();
    let middle = send_numbered(&alice, &room, 5).await;
    let right = bob.sync().await.str("next_batch").to_owned();
    send_numbered(&alice, &room, 3).await;

    let ask = |direction: &'static str, from: &str, to: &str| {
        page(&bob, &room, direction).query("limit", "30").query("from", from).query("to", to)
    };
    let forwards = ask("f", &left, &right).await.expect_ok();
    assert_eq!(forwards.column("chunk", "event_id"), middle);
    let backwards = ask("b", &right, &left).await.expect_ok();
    let expected: Vec<String> = middle.iter().rev().cloned().collect();
    assert_eq!(backwards.column("chunk", "event_id"), expected);
    // Without a beginning, the end still counts.
    let open = page(&bob, &room, "b").query("limit", "30").query("to", &left).await.expect_ok();
    assert_eq!(open.array("chunk").len(), 8);
    assert!(!open.column("chunk", "event_id").contains(&first[3]));
}

/// The end of a walk with `to` is reached page by page as well.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn to_holds_over_several_pages() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    send_numbered(&alice, &room, 3).await;
    let to = bob.sync().await.str("next_batch").to_owned();
    let sent = send_numbered(&alice, &room, 11).await;
    let mut from = bob.sync().await.str("next_batch").to_owned();
    let mut walked = Vec::new();
    for _ in 0..10 {
        let answer = page(&bob, &room, "b")
            .query("limit", "4")
            .query("from", &from)
            .query("to", &to)
            .await
            .expect_ok();
        walked.extend(answer.column("chunk", "event_id"));
        match answer.get("end").and_then(Value::as_str) {
            Some(end) if !answer.array("chunk").is_empty() => from = end.to_owned(),
            _ => break,
        }
    }
    walked.reverse();
    assert_eq!(walked, sent);
}

/// What arrives during a walk back does not disturb it.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn arrivals_do_not_disturb_a_walk() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let mut sent = send_numbered(&alice, &room, 20).await;
    let mut walked = Vec::new();
    let mut from: Option<String> = None;
    loop {
        let mut request = page(&bob, &room, "b").query("limit", "3");
        if let Some(from) = &from {
            request = request.query("from", from);
        }
        let answer = request.await.expect_ok();
        walked.extend(answer.column("chunk", "event_id"));
        alice.send_text(&room, "arrival").await;
        match answer.get("end").and_then(Value::as_str) {
            Some(end) => from = Some(end.to_owned()),
            None => break,
        }
    }
    sent.reverse();
    assert_eq!(walked[..20], sent);
    assert_eq!(walked.iter().collect::<HashSet<_>>().len(), walked.len());
}

/// The parameters have rules.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn wrong_parameters_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for direction in ["", "x", "B", "backwards"] {
        page(&alice, &room, direction).await.expect_status(400).expect_refused();
    }
    for limit in ["-1", "ten", "1.5"] {
        page(&alice, &room, "b").query("limit", limit).await.expect_status(400).expect_refused();
    }
    for token in ["nonsense", "s", "t", "-", "s99999999999999999999999999", "\u{2603}"] {
        page(&alice, &room, "b").query("from", token).await.expect_status(400).expect_refused();
        page(&alice, &room, "b").query("to", token).await.expect_status(400).expect_refused();
    }
    for filter in ["{", "[]", "7", "{\"limit\": \"x\"}", "{\"types\": \"m.room.message\"}"] {
        page(&alice, &room, "b").query("filter", filter).await.expect_status(400).expect_refused();
    }
}

/// The direction must be told.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn direction_is_required() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    alice.get(&sytest_like::path!("/v3/rooms/{}/messages", room)).await.expect_status(400).expect_refused();
}

/// A limit beyond all measure is brought down, not refused.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn huge_limits_are_no_error() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let sent = send_numbered(&alice, &room, 3).await;
    let answer = page(&alice, &room, "b").query("limit", "1000000").await.expect_ok();
    assert_eq!(answer.column("chunk", "event_id")[0], sent[2]);
}

/// Filters choose by type, with wildcards, and exclusion wins.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn filter_chooses_types() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let text = alice.send_text(&room, "text").await;
    let one = alice.send(&room, "org.example.one", json!({})).await;
    let two = alice.send(&room, "org.example.two", json!({})).await;
    let star = alice.send(&room, "org.example_one", json!({})).await;
    let found = filtered(&alice, &room, json!({"types": ["m.room.message"]})).await;
    assert_eq!(ids(&found), [text.as_str()]);
    let found = filtered(&alice, &room, json!({"types": ["org.example.*"]})).await;
    assert_eq!(ids(&found), [two.as_str(), one.as_str()]);
    let found = filtered(&alice, &room, json!({"types": ["org.*"], "not_types": ["*.two"]})).await;
    assert_eq!(ids(&found), [star.as_str(), one.as_str()]);
    let found = filtered(&alice, &room, json!({"not_types": ["m.*"]})).await;
    assert_eq!(ids(&found), [star.as_str(), two.as_str(), one.as_str()]);
    assert!(filtered(&alice, &room, json!({"types": []})).await.is_empty());
    let found =
        filtered(&alice, &room, json!({"types": ["org.example.one"], "not_types": ["org.example.one"]}));
    assert!(found.await.is_empty());
}

/// Filters choose by sender, and exclusion wins.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn filter_chooses_senders() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    alice.send_text(&room, "alice").await;
    bob.send_text(&room, "bob").await;
    carol.send_text(&room, "carol").await;
    let only = json!({"types": ["m.room.message"], "senders": [bob.id, carol.id]});
    assert_eq!(bodies(&filtered(&alice, &room, only).await), ["carol", "bob"]);
    let without = json!({"types": ["m.room.message"], "not_senders": [bob.id]});
    assert_eq!(bodies(&filtered(&alice, &room, without).await), ["carol", "alice"]);
    let both = json!({"senders": [bob.id, carol.id], "not_senders": [carol.id], "types": ["m.room.message"]});
    assert_eq!(bodies(&filtered(&alice, &room, both).await), ["bob"]);
}

/// Filters choose by room and by whether there is a URL.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn filter_chooses_urls_and_rooms() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let plain = alice.send(&room, "org.example.x", json!({"n": 1})).await;
    let image = alice.send(&room, "org.example.x", json!({"url": "mxc://example.org/a"})).await;
    let types = json!(["org.example.x"]);
    let found = filtered(&alice, &room, json!({"contains_url": true, "types": types})).await;
    assert_eq!(ids(&found), [image.as_str()]);
    let found = filtered(&alice, &room, json!({"contains_url": false, "types": types})).await;
    assert_eq!(ids(&found), [plain.as_str()]);
    assert!(filtered(&alice, &room, json!({"not_rooms": [room]})).await.is_empty());
    assert_eq!(filtered(&alice, &room, json!({"rooms": [room], "types": types})).await.len(), 2);
}

/// A filtered walk finds everything, however much lies between.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn filtered_walk_finds_everything() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let mut wanted = Vec::new();
    for _ in 0..4 {
        send_numbered(&alice, &room, 13).await;
        wanted.push(bob.send(&room, "org.example.rare", json!({})).await);
    }
    let mut found = Vec::new();
    let mut from: Option<String> = None;
    for _ in 0..100 {
        let mut request =
            page(&alice, &room, "b").query("limit", "2").query("filter", r#"{"types":["org.example.rare"]}"#);
        if let Some(from) = &from {
            request = request.query("from", from);
        }
        let answer = request.await.expect_ok();
        found.extend(answer.column("chunk", "event_id"));
        match answer.get("end").and_then(Value::as_str) {
            Some(end) => from = Some(end.to_owned()),
            None => break,
        }
    }
    wanted.reverse();
    assert_eq!(found, wanted);
}

/// With lazy loading the members who speak on the page come along, and only they.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn lazy_loading_brings_who_speaks() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    alice.send_text(&room, "one").await;
    bob.send_text(&room, "two").await;
    bob.send_text(&room, "three").await;
    let members = |answer: &sytest_like::Response| {
        let mut members: Vec<String> = answer
            .array("state")
            .iter()
            .inspect(|event| assert_eq!(event["type"], "m.room.member", "{event}"))
            .filter_map(|event| event["state_key"].as_str().map(str::to_owned))
            .collect();
        members.sort();
        members
    };
    let lazy = json!({"lazy_load_members": true, "include_redundant_members": true}).to_string();
    let ask = |limit: &'static str| page(&carol, &room, "b").query("limit", limit).query("filter", &lazy);
    assert_eq!(members(&ask("2").await.expect_ok()), [bob.id.clone()]);
    let mut both = vec![alice.id.clone(), bob.id.clone()];
    both.sort();
    assert_eq!(members(&ask("3").await.expect_ok()), both);
    // Asked with redundant members, the same come again.
    assert_eq!(members(&ask("2").await.expect_ok()), [bob.id.clone()]);
}

/// Who is not in the room walks nowhere.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn strangers_walk_nowhere() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    let token = alice.sync().await.str("next_batch").to_owned();
    page(&bob, &room, "b").await.expect_err(403, "M_FORBIDDEN");
    page(&bob, &room, "f").query("from", token).await.expect_err(403, "M_FORBIDDEN");
    page(&bob, &format!("!unknown:{}", alice.server.name()), "b").await.expect_refused();
}

/// Redactions and other events that change others are in the walk, once.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn redacted_and_redacting_events_are_in_the_walk() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let event = alice.send_text(&room, "regrettable").await;
    let redaction = super::ground::redact(&alice, &room, &event).await;
    let walked = walk(&alice, &room, "b", 3).await;
    assert_eq!(ids(&walked)[..2], [redaction.as_str(), event.as_str()]);
}

/// A token is good after a restart, and the walk goes on where it was.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn tokens_survive_a_restart() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let mut sent = send_numbered(&alice, &room, 12).await;
    let first = page(&alice, &room, "b").query("limit", "5").await.expect_ok();
    server.kill9();
    server.start_again().await;
    let second =
        page(&alice, &room, "b").query("limit", "7").query("from", first.str("end")).await.expect_ok();
    sent.reverse();
    let mut walked = first.column("chunk", "event_id");
    walked.extend(second.column("chunk", "event_id"));
    assert_eq!(walked, sent);
}
