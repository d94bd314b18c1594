//! What is told of an event's relations along with it.

use sytest_like::{User, Value, json, path, timeline};

use super::ground::{edit, page, redact, relation, room_with, three, try_send, two};

/// Takes away what depends on the moment at which one asks.
fn without_age(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.remove("age");
            for field in fields.values_mut() {
                *field = without_age(field.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = without_age(item.take());
            }
        }
        _ => {}
    }
    value
}

/// The bundled aggregations of an event, which must be the same wherever it is shown.
async fn bundled(user: &User, room: &str, event: &str) -> Value {
    let single = user.get_event(room, event).await.expect_ok().json;
    let mut found = vec![single.clone()];
    found.extend(page(user, room, "b").query("limit", "100").await.expect_ok().array("chunk").clone());
    let context = user.get(&path!("/v3/rooms/{}/context/{}", room, event)).await.expect_ok();
    found.push(context["event"].clone());
    found.retain(|candidate| candidate["event_id"] == event);
    assert_eq!(found.len(), 3, "{found:?}");
    let relations = without_age(single["unsigned"]["m.relations"].clone());
    for other in &found[1..] {
        assert_eq!(without_age(other["unsigned"]["m.relations"].clone()), relations);
    }
    if relations.is_null() { json!({}) } else { relations }
}

/// The latest edit comes along, and the original stays as it was.
/// spec: client-server-api/#server-side-aggregation-of-mreplace-relationships
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn latest_edit_comes_along() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let original = alice.send_text(&room, "one").await;
    alice.send(&room, "m.room.message", edit(&original, "two")).await;
    let last = alice.send(&room, "m.room.message", edit(&original, "three")).await;
    for user in [&alice, &bob] {
        let replace = bundled(user, &room, &original).await["m.replace"].clone();
        assert_eq!(replace["event_id"], last.as_str());
        assert_eq!(replace["sender"], alice.id.as_str());
        assert_eq!(replace["type"], "m.room.message");
        assert_eq!(replace["content"], edit(&original, "three"));
        let event = user.get_event(&room, &original).await.expect_ok();
        event.has("content", json!({"msgtype": "m.text", "body": "one"}));
    }
}

/// An edit in a sync of the past comes along too.
/// spec: client-server-api/#aggregations-of-child-events
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn aggregations_are_in_a_limited_sync() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let original = alice.send_text(&room, "one").await;
    let last = alice.send(&room, "m.room.message", edit(&original, "two")).await;
    let sync = bob.sync().filter(&json!({"room": {"timeline": {"limit": 2}}})).await;
    let events = timeline(&sync, &room);
    let found = events.iter().find(|event| event["event_id"] == original.as_str()).expect("in the timeline");
    assert_eq!(found["unsigned"]["m.relations"]["m.replace"]["event_id"], last.as_str(), "{found}");
}

/// Edits that break the rules do not count.
/// spec: client-server-api/#validity-of-replacement-events
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn invalid_edits_do_not_count() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let original = alice.send_text(&room, "one").await;
    // By somebody else; of another type; an edit of an edit.
    bob.send(&room, "m.room.message", edit(&original, "stolen")).await;
    alice.send(&room, "org.example.message", edit(&original, "other type")).await;
    assert!(bundled(&alice, &room, &original).await.get("m.replace").is_none());
    let good = alice.send(&room, "m.room.message", edit(&original, "two")).await;
    bob.send(&room, "m.room.message", edit(&original, "stolen again")).await;
    assert_eq!(bundled(&alice, &room, &original).await["m.replace"]["event_id"], good.as_str());
}

/// Without new content an edit does not count, and neither does an edit of an edit.
/// spec: client-server-api/#validity-of-replacement-events
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn edits_without_content_and_edits_of_edits_do_not_count() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let original = alice.send_text(&room, "one").await;
    let good = alice.send(&room, "m.room.message", edit(&original, "two")).await;
    alice.send(&room, "m.room.message", relation("m.replace", &original, "nothing new")).await;
    assert_eq!(bundled(&alice, &room, &original).await["m.replace"]["event_id"], good.as_str());
    alice.send(&room, "m.room.message", edit(&good, "three")).await;
    assert!(bundled(&alice, &room, &good).await.get("m.replace").is_none());
}

/// State is not edited.
/// spec: client-server-api/#validity-of-replacement-events
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn state_is_not_edited() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let state = alice.set_state(&room, "org.example.x", "", json!({"body": "one"})).await;
    alice.send(&room, "org.example.x", edit(&state, "two")).await;
    assert!(bundled(&alice, &room, &state).await.get("m.replace").is_none());
    let message = alice.send_text(&room, "one").await;
    alice.set_state(&room, "m.room.message", "", edit(&message, "two")).await;
    assert!(bundled(&alice, &room, &message).await.get("m.replace").is_none());
}

/// A redacted edit falls away; a redacted original has no edits.
/// spec: client-server-api/#redactions-of-edited-events
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn redactions_take_edits_away() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let original = alice.send_text(&room, "one").await;
    let first = alice.send(&room, "m.room.message", edit(&original, "two")).await;
    let second = alice.send(&room, "m.room.message", edit(&original, "three")).await;
    redact(&alice, &room, &second).await;
    assert_eq!(bundled(&alice, &room, &original).await["m.replace"]["event_id"], first.as_str());
    redact(&alice, &room, &original).await;
    let seen = alice.get_event(&room, &original).await.expect_ok().has("content", json!({}));
    seen.expect_absent("/unsigned/m.relations/m.replace");
    // The edit itself is not redacted.
    alice.get_event(&room, &first).await.expect_ok().has("/content/m.new_content/body", "two");
}

/// References are listed.
/// spec: client-server-api/#server-side-aggregation-of-mreference
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn references_are_listed() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let parent = alice.send_text(&room, "parent").await;
    let one = bob.send(&room, "org.example.x", relation("m.reference", &parent, "1")).await;
    let two = alice.send(&room, "m.room.message", relation("m.reference", &parent, "2")).await;
    let chunk = |relations: &Value| {
        let mut ids: Vec<String> = relations["m.reference"]["chunk"]
            .as_array()
            .cloned()
            .unwrap_or_default()
            .iter()
            .filter_map(|event| event["event_id"].as_str().map(str::to_owned))
            .collect();
        ids.sort();
        ids
    };
    let mut both = vec![one.clone(), two.clone()];
    both.sort();
    assert_eq!(chunk(&bundled(&bob, &room, &parent).await), both);
    redact(&alice, &room, &two).await;
    assert_eq!(chunk(&bundled(&bob, &room, &parent).await), [one]);
}

/// Reactions are counted by clients, not by the server.
/// spec: client-server-api/#server-side-aggregation-of-mannotation-relationships
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn reactions_are_not_aggregated() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let parent = alice.send_text(&room, "parent").await;
    let content = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": parent, "key": "x"}});
    bob.send(&room, "m.reaction", content).await;
    assert!(bundled(&alice, &room, &parent).await.get("m.annotation").is_none());
}

/// The same reaction twice is refused, until the first is redacted.
/// spec: client-server-api/#avoiding-duplicate-annotations
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn same_reaction_twice_is_refused() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let parent = alice.send_text(&room, "parent").await;
    let react =
        |key: &str| json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": parent, "key": key}});
    let first = bob.send(&room, "m.reaction", react("\u{1F44D}")).await;
    let again = try_send(&bob, &room, "m.reaction", react("\u{1F44D}")).await;
    again.expect_err(400, "M_DUPLICATE_ANNOTATION");
    try_send(&bob, &room, "m.reaction", react("\u{1F389}")).await.expect_ok();
    try_send(&bob, &room, "org.example.reaction", react("\u{1F44D}")).await.expect_ok();
    try_send(&alice, &room, "m.reaction", react("\u{1F44D}")).await.expect_ok();
    redact(&bob, &room, &first).await;
    try_send(&bob, &room, "m.reaction", react("\u{1F44D}")).await.expect_ok();
}

/// A thread is summed up on its root: its last event, how many, and whether one takes part.
/// spec: client-server-api/#server-side-aggregation-of-mthread-relationships
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn thread_is_summed_up() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    let root = alice.send_text(&room, "root").await;
    bob.send(&room, "m.room.message", relation("m.thread", &root, "one")).await;
    let last = bob.send(&room, "m.room.message", relation("m.thread", &root, "two")).await;
    for (user, participated) in [(&alice, true), (&bob, true), (&carol, false)] {
        let thread = bundled(user, &room, &root).await["m.thread"].clone();
        assert_eq!(thread["count"], 2);
        assert_eq!(thread["current_user_participated"], participated, "{}", user.id);
        assert_eq!(thread["latest_event"]["event_id"], last.as_str());
        assert_eq!(thread["latest_event"]["content"]["body"], "two");
        assert_eq!(thread["latest_event"]["sender"], bob.id.as_str());
    }
    carol.send(&room, "m.room.message", relation("m.thread", &root, "three")).await;
    let thread = bundled(&carol, &room, &root).await["m.thread"].clone();
    assert_eq!((&thread["count"], &thread["current_user_participated"]), (&json!(3), &json!(true)));
}

/// Redacted events leave the thread.
/// spec: client-server-api/#aggregations-of-child-events
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn redacted_events_leave_the_thread() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let root = alice.send_text(&room, "root").await;
    let first = bob.send(&room, "m.room.message", relation("m.thread", &root, "one")).await;
    let second = alice.send(&room, "m.room.message", relation("m.thread", &root, "two")).await;
    redact(&alice, &room, &second).await;
    let thread = bundled(&bob, &room, &root).await["m.thread"].clone();
    assert_eq!(thread["count"], 1);
    assert_eq!(thread["latest_event"]["event_id"], first.as_str());
    redact(&bob, &room, &first).await;
    assert!(bundled(&bob, &room, &root).await.get("m.thread").is_none());
}

/// The last event of a thread comes with its own edit.
/// spec: client-server-api/#server-side-aggregation-of-mthread-relationships
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn last_event_of_a_thread_comes_with_its_edit() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let root = alice.send_text(&room, "root").await;
    let child = bob.send(&room, "m.room.message", relation("m.thread", &root, "child")).await;
    let edited = bob.send(&room, "m.room.message", edit(&child, "better child")).await;
    let thread = bundled(&alice, &room, &root).await["m.thread"].clone();
    assert_eq!(thread["count"], 1);
    assert_eq!(thread["latest_event"]["event_id"], child.as_str());
    let relations = &thread["latest_event"]["unsigned"]["m.relations"];
    assert_eq!(relations["m.replace"]["event_id"], edited.as_str(), "{thread}");
}

/// Relations that one may not see are not told of.
/// spec: client-server-api/#aggregations-of-child-events
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
#[tokio::test]
async fn hidden_relations_are_not_told_of() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.set_state(&room, "m.room.history_visibility", "", json!({"history_visibility": "joined"})).await;
    let root = alice.send_text(&room, "root").await;
    bob.leave(&room).await;
    let hidden = alice.send(&room, "m.room.message", relation("m.reference", &root, "hidden")).await;
    bob.join(&room).await;
    let shown = alice.send(&room, "m.room.message", relation("m.reference", &root, "shown")).await;
    let relations = bob.get(&path!("/v1/rooms/{}/relations/{}", room, root)).await.expect_ok();
    assert_eq!(relations.column("chunk", "event_id"), [shown]);
    bob.get_event(&room, &hidden).await.expect_err(404, "M_NOT_FOUND");
}

/// What ignored users say is not part of what one is told.
/// spec: client-server-api/#ignoring-users
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn ignored_users_do_not_count() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    let root = alice.send_text(&room, "root").await;
    let heard = carol.send(&room, "m.room.message", relation("m.thread", &root, "heard")).await;
    bob.send(&room, "m.room.message", relation("m.thread", &root, "ignored")).await;
    let ignored = json!({"ignored_users": {&bob.id: {}}});
    let path = path!("/v3/user/{}/account_data/m.ignored_user_list", alice.id);
    alice.put(&path, ignored).await.expect_ok();
    let event = alice.get_event(&room, &root).await.expect_ok();
    assert_eq!(event["/unsigned/m.relations/m.thread/count"], 1);
    assert_eq!(event["/unsigned/m.relations/m.thread/latest_event/event_id"], heard.as_str());
}
