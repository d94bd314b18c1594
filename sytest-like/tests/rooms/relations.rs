//! The events that relate to another.

use futures_util::future::join_all;
use sytest_like::{Request, User, Value, incompressible, json, path};

use super::ground::{edit, redact, relation, room_with, try_send, try_text, two};

fn ask(user: &User, room: &str, event: &str, rest: &str) -> Request {
    user.get(&format!("{}{rest}", path!("/v1/rooms/{}/relations/{}", room, event)))
}

async fn related(user: &User, room: &str, event: &str, rest: &str) -> Vec<String> {
    ask(user, room, event, rest).await.expect_ok().column("chunk", "event_id")
}

async fn react(user: &User, room: &str, event: &str, key: &str) -> String {
    let content = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": key}});
    user.send(room, "m.reaction", content).await
}

async fn thread(user: &User, room: &str, event: &str, body: &str) -> String {
    user.send(room, "m.room.message", relation("m.thread", event, body)).await
}

/// All relations are found, the newest first; narrowed down by kind, and by type of event.
/// spec: client-server-api/#relationships-api
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}
#[tokio::test]
async fn relations_are_found_and_narrowed_down() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let parent = alice.send_text(&room, "parent").await;
    let other = alice.send_text(&room, "other").await;
    let reaction = react(&bob, &room, &parent, "\u{1F44D}").await;
    let threaded = thread(&bob, &room, &parent, "in the thread").await;
    let sticker = bob
        .send(
            &room,
            "org.example.sticker",
            json!({"m.relates_to": {"rel_type": "m.thread", "event_id": parent}}),
        )
        .await;
    let edited = alice.send(&room, "m.room.message", edit(&parent, "edited")).await;
    react(&bob, &room, &other, "\u{1F44D}").await;

    let all = related(&bob, &room, &parent, "").await;
    assert_eq!(all, [edited.clone(), sticker.clone(), threaded.clone(), reaction.clone()]);
    assert_eq!(related(&bob, &room, &parent, "/m.thread").await, [sticker.clone(), threaded.clone()]);
    assert_eq!(related(&bob, &room, &parent, "/m.annotation").await, [reaction]);
    assert_eq!(related(&bob, &room, &parent, "/m.replace/m.room.message").await, [edited]);
    assert_eq!(related(&bob, &room, &parent, "/m.thread/m.room.message").await, [threaded]);
    assert_eq!(related(&bob, &room, &parent, "/m.thread/org.example.sticker").await, [sticker]);
    assert!(related(&bob, &room, &parent, "/m.thread/m.reaction").await.is_empty());
    assert!(related(&bob, &room, &parent, "/org.example.unknown").await.is_empty());
}

/// The found events are whole.
/// spec: client-server-api/#get_matrixclientv1roomsroomidrelationseventid
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
#[tokio::test]
async fn found_events_are_whole() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let parent = alice.send_text(&room, "parent").await;
    let child = thread(&bob, &room, &parent, "child").await;
    let answer = ask(&alice, &room, &parent, "").await.expect_ok();
    let found = &answer["/chunk/0"];
    assert_eq!(found["event_id"], child.as_str());
    assert_eq!(found["room_id"], room.as_str());
    assert_eq!(found["sender"], bob.id.as_str());
    assert_eq!(found["content"], relation("m.thread", &parent, "child"));
    answer.expect_absent("recursion_depth").expect_absent("next_batch");
}

/// Where nothing relates nothing is found.
/// spec: client-server-api/#get_matrixclientv1roomsroomidrelationseventid
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
#[tokio::test]
async fn no_relations_is_an_empty_answer() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let lonely = alice.send_text(&room, "lonely").await;
    let answer = ask(&alice, &room, &lonely, "").await.expect_ok();
    answer.has("chunk", json!([])).expect_absent("next_batch");
}

/// What is named by an id that no event can have is no relation, and whoever writes beside it is not held up.
/// spec: client-server-api/#forming-relationships-between-events
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn enormous_parent_is_no_relation() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let parent = format!("${}", incompressible(50_000));
    let strange = try_send(&alice, &room, "m.room.message", relation("m.thread", &parent, "child"));
    let others = join_all((0..5).map(|_| try_text(&bob, &room)));

    let (strange, others) = tokio::join!(strange, others);

    for answer in others {
        answer.expect_ok();
    }
    let event = strange.expect_ok().str("event_id").to_owned();
    assert_eq!(alice.get_event(&room, &event).await.expect_ok()["content"]["body"], "child");
}

/// Pages follow each other without gaps, both ways.
/// spec: client-server-api/#get_matrixclientv1roomsroomidrelationseventid
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}
#[tokio::test]
async fn relations_come_in_pages() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let parent = alice.send_text(&room, "parent").await;
    let mut children = Vec::new();
    for number in 0..11 {
        children.push(thread(&bob, &room, &parent, &number.to_string()).await);
        bob.send_text(&room, "between").await;
    }
    for direction in ["f", "b"] {
        let mut found = Vec::new();
        let mut from: Option<String> = None;
        for _ in 0..10 {
            let mut request =
                ask(&alice, &room, &parent, "/m.thread").query("limit", "4").query("dir", direction);
            if let Some(from) = &from {
                request = request.query("from", from);
            }
            let answer = request.await.expect_ok();
            assert!(answer.array("chunk").len() <= 4, "{answer}");
            found.extend(answer.column("chunk", "event_id"));
            match answer.get("next_batch").and_then(Value::as_str) {
                Some(next) => from = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(found, children, "{direction}");
        children.reverse();
    }
}

/// A token of a sync is a place to start from.
/// spec: client-server-api/#get_matrixclientv1roomsroomidrelationseventid
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn sync_token_is_a_place_to_start() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let parent = alice.send_text(&room, "parent").await;
    let early = thread(&bob, &room, &parent, "early").await;
    let token = alice.sync().await.str("next_batch").to_owned();
    let late = thread(&bob, &room, &parent, "late").await;
    let before = ask(&alice, &room, &parent, "").query("from", &token).await.expect_ok();
    assert_eq!(before.column("chunk", "event_id"), [early]);
    let after = ask(&alice, &room, &parent, "").query("from", &token).query("dir", "f").await.expect_ok();
    assert_eq!(after.column("chunk", "event_id"), [late.clone()]);
    let until = ask(&alice, &room, &parent, "").query("to", &token).await.expect_ok();
    assert_eq!(until.column("chunk", "event_id"), [late]);
}

/// On demand the relations of relations are found as well, and it is told how deep the search went.
/// spec: client-server-api/#get_matrixclientv1roomsroomidrelationseventid
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}
#[tokio::test]
async fn recursion_finds_relations_of_relations() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let parent = alice.send_text(&room, "parent").await;
    let child = thread(&bob, &room, &parent, "child").await;
    let edited = bob.send(&room, "m.room.message", edit(&child, "edited child")).await;
    let reaction = react(&alice, &room, &child, "\u{1F44D}").await;
    let reference = alice.send(&room, "org.example.x", relation("m.reference", &edited, "deep")).await;
    let flat = ask(&alice, &room, &parent, "").query("recurse", "false").await.expect_ok();
    assert_eq!(flat.column("chunk", "event_id"), [child.clone()]);
    let deep = ask(&alice, &room, &parent, "").query("recurse", "true").await.expect_ok();
    assert_eq!(deep.column("chunk", "event_id"), [reference, reaction.clone(), edited, child.clone()]);
    assert!(deep.int("recursion_depth") >= 3, "{deep}");
    let narrowed = ask(&alice, &room, &parent, "/m.annotation").query("recurse", "true").await.expect_ok();
    assert_eq!(narrowed.column("chunk", "event_id"), [reaction]);
}

/// A redacted relation is none any more; a redacted parent keeps its relations.
/// spec: client-server-api/#aggregations-of-child-events
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn redaction_breaks_a_relation_from_below_only() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let parent = alice.send_text(&room, "parent").await;
    let kept = thread(&bob, &room, &parent, "kept").await;
    let gone = thread(&bob, &room, &parent, "gone").await;
    let reaction = react(&bob, &room, &parent, "\u{1F44D}").await;
    redact(&bob, &room, &gone).await;
    redact(&bob, &room, &reaction).await;
    assert_eq!(related(&alice, &room, &parent, "").await, [kept.clone()]);
    redact(&alice, &room, &parent).await;
    assert_eq!(related(&alice, &room, &parent, "").await, [kept]);
}

/// A relation to an event of another room is none.
/// spec: client-server-api/#forming-relationships-between-events
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn relations_stay_within_a_room() {
    let (alice, _) = two().await;
    let (here, there) = (alice.create_public_room().await, alice.create_public_room().await);
    let parent = alice.send_text(&there, "parent").await;
    // It may be refused, or it is an event that relates to nothing.
    let content = relation("m.reference", &parent, "from elsewhere");
    let answer = try_send(&alice, &here, "m.room.message", content).await;
    assert!(answer.status == 200 || answer.status == 400, "{answer}");
    assert!(related(&alice, &there, &parent, "").await.is_empty());
    ask(&alice, &here, &parent, "").await.expect_status(404).expect_refused();
    alice.get_event(&there, &parent).await.expect_ok().expect_absent("/unsigned/m.relations");
}

/// Replies are no relations, and broken relations are none either.
/// spec: client-server-api/#relationships-api
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
#[tokio::test]
async fn replies_and_broken_relations_are_none() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let parent = alice.send_text(&room, "parent").await;
    for relates in [
        json!({"m.in_reply_to": {"event_id": parent}}),
        json!({"event_id": parent}),
        json!({"rel_type": "m.reference"}),
        json!({"rel_type": 7, "event_id": parent}),
        json!({"rel_type": "m.reference", "event_id": 7}),
        json!({"rel_type": ["m.reference"], "event_id": [parent]}),
        json!([parent]),
        json!(parent),
        json!(null),
    ] {
        alice.send(&room, "org.example.x", json!({"m.relates_to": relates})).await;
    }
    assert!(related(&alice, &room, &parent, "").await.is_empty());
}

/// Relations of events that are not there, or are not for the user, are not found.
/// spec: client-server-api/#get_matrixclientv1roomsroomidrelationseventid
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}
#[tokio::test]
async fn relations_are_for_who_may_read() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    let parent = alice.send_text(&room, "parent").await;
    thread(&alice, &room, &parent, "child").await;
    for rest in ["", "/m.thread", "/m.thread/m.room.message"] {
        let answer = ask(&bob, &room, &parent, rest).await;
        answer.expect_err_of(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]);
        let absent = ask(&alice, &room, &format!("${}", "A".repeat(43)), rest).await;
        absent.expect_status(404).expect_refused();
    }
}

/// Wrong parameters are refused.
/// spec: client-server-api/#get_matrixclientv1roomsroomidrelationseventid
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
#[tokio::test]
async fn wrong_parameters_are_refused() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let parent = alice.send_text(&room, "parent").await;
    for (name, value) in
        [("dir", "x"), ("limit", "-1"), ("limit", "x"), ("from", "nonsense"), ("recurse", "x")]
    {
        let answer = ask(&alice, &room, &parent, "").query(name, value).await;
        assert_eq!(answer.status, 400, "{name}={value}: {answer}");
        answer.expect_refused();
    }
}
