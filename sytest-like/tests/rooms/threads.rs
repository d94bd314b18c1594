//! The threads of a room.

use sytest_like::{Request, User, Value, json, path};

use super::ground::{redact, relation, room_with, three, try_send, two};

fn ask(user: &User, room: &str) -> Request {
    user.get(&path!("/v1/rooms/{}/threads", room))
}

async fn reply(user: &User, room: &str, root: &str) -> String {
    user.send(room, "m.room.message", relation("m.thread", root, "reply")).await
}

/// Threads are listed by their last event, newest first, with what is told of them.
/// spec: client-server-api/#get_matrixclientv1roomsroomidthreads
/// covers: GET /_matrix/client/v1/rooms/{roomId}/threads
#[tokio::test]
async fn threads_are_listed_by_their_last_event() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    ask(&alice, &room).await.expect_ok().has("chunk", json!([]));
    let first = alice.send_text(&room, "first root").await;
    let second = bob.send_text(&room, "second root").await;
    alice.send_text(&room, "no root").await;
    reply(&bob, &room, &first).await;
    reply(&alice, &room, &second).await;
    assert_eq!(
        ask(&alice, &room).await.expect_ok().column("chunk", "event_id"),
        [second.clone(), first.clone()]
    );
    let last = reply(&alice, &room, &first).await;
    let answer = ask(&alice, &room).await.expect_ok();
    assert_eq!(answer.column("chunk", "event_id"), [first, second]);
    assert_eq!(answer["/chunk/0/content/body"], "first root");
    let thread = &answer["/chunk/0/unsigned/m.relations/m.thread"];
    assert_eq!(thread["count"], 2);
    assert_eq!(thread["latest_event"]["event_id"], last.as_str());
    answer.expect_absent("next_batch");
}

/// Only those threads that one takes part in, on demand.
/// spec: client-server-api/#get_matrixclientv1roomsroomidthreads
/// covers: GET /_matrix/client/v1/rooms/{roomId}/threads
#[tokio::test]
async fn threads_of_ones_own() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    let by_alice = alice.send_text(&room, "by alice").await;
    let by_bob = bob.send_text(&room, "by bob").await;
    let with_carol = bob.send_text(&room, "with carol").await;
    reply(&bob, &room, &by_alice).await;
    reply(&bob, &room, &by_bob).await;
    reply(&carol, &room, &with_carol).await;
    let own = |user: &User| ask(user, &room).query("include", "participated");
    assert_eq!(own(&alice).await.expect_ok().column("chunk", "event_id"), [by_alice.clone()]);
    assert_eq!(own(&carol).await.expect_ok().column("chunk", "event_id"), [with_carol.clone()]);
    let all = [with_carol, by_bob, by_alice];
    assert_eq!(own(&bob).await.expect_ok().column("chunk", "event_id"), all);
    let every = ask(&carol, &room).query("include", "all").await.expect_ok();
    assert_eq!(every.column("chunk", "event_id"), all);
}

/// Threads come in pages.
/// spec: client-server-api/#get_matrixclientv1roomsroomidthreads
/// covers: GET /_matrix/client/v1/rooms/{roomId}/threads
#[tokio::test]
async fn threads_come_in_pages() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let mut roots = Vec::new();
    for number in 0..7 {
        let root = alice.send_text(&room, &number.to_string()).await;
        reply(&bob, &room, &root).await;
        roots.push(root);
    }
    let mut found = Vec::new();
    let mut from: Option<String> = None;
    for _ in 0..10 {
        let mut request = ask(&alice, &room).query("limit", "3");
        if let Some(from) = &from {
            request = request.query("from", from);
        }
        let answer = request.await.expect_ok();
        assert!(answer.array("chunk").len() <= 3, "{answer}");
        found.extend(answer.column("chunk", "event_id"));
        match answer.get("next_batch").and_then(Value::as_str) {
            Some(next) => from = Some(next.to_owned()),
            None => break,
        }
    }
    roots.reverse();
    assert_eq!(found, roots);
}

/// A thread cannot begin at an event that itself relates to another.
/// spec: client-server-api/#validation-of-mthread-relationships
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn thread_begins_at_no_relation() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let root = alice.send_text(&room, "root").await;
    let threaded = reply(&bob, &room, &root).await;
    let answer = try_send(&alice, &room, "m.room.message", relation("m.thread", &threaded, "nested")).await;
    answer.expect_err(400, "M_UNKNOWN");
    assert_eq!(ask(&alice, &room).await.expect_ok().column("chunk", "event_id"), [root]);
}

/// A thread whose replies are all redacted is none.
/// spec: client-server-api/#aggregations-of-child-events
/// covers: GET /_matrix/client/v1/rooms/{roomId}/threads
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn redacted_replies_make_no_thread() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let (kept, gone) = (alice.send_text(&room, "kept").await, alice.send_text(&room, "gone").await);
    reply(&bob, &room, &kept).await;
    let child = reply(&bob, &room, &gone).await;
    redact(&bob, &room, &child).await;
    assert_eq!(ask(&alice, &room).await.expect_ok().column("chunk", "event_id"), [kept]);
}

/// Threads are for members, and the parameters have rules.
/// spec: client-server-api/#get_matrixclientv1roomsroomidthreads
/// covers: GET /_matrix/client/v1/rooms/{roomId}/threads
#[tokio::test]
async fn wrong_questions_are_refused() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    ask(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    for (name, value) in [("include", "x"), ("limit", "-1"), ("limit", "x"), ("from", "nonsense")] {
        let answer = ask(&alice, &room).query(name, value).await;
        assert_eq!(answer.status, 400, "{name}={value}: {answer}");
        answer.expect_refused();
    }
}
