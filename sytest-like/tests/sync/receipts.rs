//! Read receipts: public, private, and by thread.

use super::view::{ephemeral, mentions, without_presence};
use sytest_like::{Response, Server, Syncer, User, Value, json, path};

/// Two users in a room with a message of the first; and a follower of the first who has heard it.
async fn stage() -> (User, User, String, String, Syncer) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let event = alice.send_text(&room, "read me").await;
    let syncer = alice.syncer_with_filter(without_presence()).await;
    (alice, bob, room, event, syncer)
}

async fn read(user: &User, room: &str, kind: &str, event: &str, body: Value) -> Response {
    user.post(&path!("/v3/rooms/{}/receipt/{}/{}", room, kind, event), body).await
}

fn receipts(answer: &Response, room: &str) -> Value {
    ephemeral(answer, room, "m.receipt").unwrap_or_else(|| json!({}))
}

/// The receipt of a user for an event, of one kind.
fn receipt<'a>(receipts: &'a Value, event: &str, kind: &str, user: &User) -> Option<&'a Value> {
    receipts[event][kind].get(&user.id)
}

/// The events that a user has receipts of this kind for.
fn events_read(receipts: &Value, kind: &str, user: &User) -> Vec<String> {
    let by_event = receipts.as_object().cloned().unwrap_or_default();
    by_event.into_iter().filter(|(_, by)| by[kind].get(&user.id).is_some()).map(|(event, _)| event).collect()
}

/// A receipt is told to the room, with the time.
/// spec: client-server-api/#receipts
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn receipt_is_told() {
    let (alice, bob, room, event, mut syncer) = stage().await;
    let answer = read(&bob, &room, "m.read", &event, json!({})).await.expect_ok();
    assert_eq!(answer.json, json!({}));
    let heard = receipts(&syncer.next(5_000).await, &room);
    let told = receipt(&heard, &event, "m.read", &bob).expect("bob has read it");
    let sent = alice.get_event(&room, &event).await.expect_ok().int("origin_server_ts");
    let at = told["ts"].as_i64().expect("a receipt has a time");
    assert!((sent..sent + 600_000).contains(&at), "{told} for an event of {sent}");
    assert!(told.get("thread_id").is_none(), "{told}");
}

/// The reader's own devices hear of it as well.
/// spec: client-server-api/#receipts
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn own_devices_hear_of_a_receipt() {
    let (_, bob, room, event, _) = stage().await;
    let laptop = bob.login().await;
    let mut syncer = laptop.syncer_with_filter(without_presence()).await;
    read(&bob, &room, "m.read", &event, json!({})).await.expect_ok();
    let heard = receipts(&syncer.next(5_000).await, &room);
    assert!(receipt(&heard, &event, "m.read", &bob).is_some(), "{heard}");
}

/// A newer receipt takes the place of the older one.
/// spec: client-server-api/#receipts
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn receipt_moves_on() {
    let (alice, bob, room, first, mut syncer) = stage().await;
    read(&bob, &room, "m.read", &first, json!({})).await.expect_ok();
    syncer
        .until("the first", |answer| receipt(&receipts(answer, &room), &first, "m.read", &bob).is_some())
        .await;
    let second = alice.send_text(&room, "and me").await;
    read(&bob, &room, "m.read", &second, json!({})).await.expect_ok();
    let heard = syncer
        .until_some("the second", |answer| {
            let heard = receipts(answer, &room);
            receipt(&heard, &second, "m.read", &bob).is_some().then_some(heard)
        })
        .await;
    assert_eq!(events_read(&heard, "m.read", &bob), [second.clone()]);
    let fresh = alice.login().await.sync().await;
    assert_eq!(events_read(&receipts(&fresh, &room), "m.read", &bob), [second]);
}

/// Receipts that were not told yet are told together; those that were are not told again.
/// spec: client-server-api/#receipts
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn only_new_receipts_are_told() {
    let (alice, bob, room, event, mut syncer) = stage().await;
    let carol = alice.server.register("carol").await;
    carol.join(&room).await;
    read(&bob, &room, "m.read", &event, json!({})).await.expect_ok();
    syncer.until("bob's", |answer| receipt(&receipts(answer, &room), &event, "m.read", &bob).is_some()).await;
    read(&carol, &room, "m.read", &event, json!({})).await.expect_ok();
    let heard = receipts(&syncer.next(5_000).await, &room);
    assert!(receipt(&heard, &event, "m.read", &carol).is_some(), "{heard}");
    assert!(receipt(&heard, &event, "m.read", &bob).is_none(), "{heard}");
    let quiet = syncer.next(0).await;
    assert!(!mentions(&quiet, &room), "{quiet}");
}

/// All receipts of a room come as one event, in an initial sync too.
/// spec: client-server-api/#receipts
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn receipts_come_in_one_event() {
    let (alice, bob, room, event, _) = stage().await;
    let carol = alice.server.register("carol").await;
    carol.join(&room).await;
    let second = alice.send_text(&room, "two").await;
    read(&bob, &room, "m.read", &event, json!({})).await.expect_ok();
    read(&carol, &room, "m.read", &second, json!({})).await.expect_ok();
    let answer = alice.sync().await;
    let parts = super::view::events(&answer.json["rooms"]["join"][&room], "ephemeral");
    assert_eq!(parts.iter().filter(|event| event["type"] == "m.receipt").count(), 1, "{answer}");
    let all = receipts(&answer, &room);
    assert!(receipt(&all, &event, "m.read", &bob).is_some(), "{all}");
    assert!(receipt(&all, &second, "m.read", &carol).is_some(), "{all}");
}

/// A private receipt reaches the user's own devices and nobody else.
/// spec: client-server-api/#private-read-receipts
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn private_receipt_is_private() {
    let (alice, bob, room, event, mut syncer) = stage().await;
    let mut own = bob.login().await.syncer_with_filter(without_presence()).await;
    read(&bob, &room, "m.read.private", &event, json!({})).await.expect_ok();
    let heard = receipts(&own.next(5_000).await, &room);
    assert!(receipt(&heard, &event, "m.read.private", &bob).is_some(), "{heard}");
    let sent = bob.send_text(&room, "and now?").await;
    let answer = syncer
        .until("the message", |answer| {
            assert!(!answer.to_string().contains("m.read.private"), "{answer}");
            sytest_like::timeline_ids(answer, &room).contains(&sent)
        })
        .await;
    assert_eq!(receipts(&answer, &room), json!({}));
    let fresh = alice.login().await.sync().await;
    assert!(!fresh.to_string().contains("m.read.private"), "{fresh}");
    let own = bob.login().await.sync().await;
    assert!(receipt(&receipts(&own, &room), &event, "m.read.private", &bob).is_some(), "{own}");
}

/// A private receipt does not take the place of a public one.
/// spec: client-server-api/#private-read-receipts
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn private_and_public_stand_side_by_side() {
    let (alice, bob, room, first, _) = stage().await;
    let second = alice.send_text(&room, "two").await;
    read(&bob, &room, "m.read", &first, json!({})).await.expect_ok();
    read(&bob, &room, "m.read.private", &second, json!({})).await.expect_ok();
    let own = receipts(&bob.sync().await, &room);
    assert_eq!(events_read(&own, "m.read", &bob), [first.clone()]);
    assert_eq!(events_read(&own, "m.read.private", &bob), [second]);
    let others = receipts(&alice.sync().filter(&without_presence()).await, &room);
    assert_eq!(events_read(&others, "m.read", &bob), [first]);
}

/// A receipt by thread carries the thread, and stands beside the one without.
/// spec: client-server-api/#threaded-read-receipts
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn receipts_are_kept_by_thread() {
    let (alice, bob, room, root, _) = stage().await;
    let reply = json!({
        "msgtype": "m.text", "body": "in the thread",
        "m.relates_to": {"rel_type": "m.thread", "event_id": root},
    });
    let reply = alice.send(&room, "m.room.message", reply).await;
    let main = alice.send_text(&room, "in the main timeline").await;
    let last = alice.send_text(&room, "the last").await;
    read(&bob, &room, "m.read", &reply, json!({"thread_id": root})).await.expect_ok();
    read(&bob, &room, "m.read", &main, json!({"thread_id": "main"})).await.expect_ok();
    read(&bob, &room, "m.read", &last, json!({})).await.expect_ok();
    let all = receipts(&alice.sync().filter(&json!({})).await, &room);
    let thread =
        |event: &str| receipt(&all, event, "m.read", &bob).map(|told| told.get("thread_id").cloned());
    assert_eq!(thread(&reply), Some(Some(json!(root))), "{all}");
    assert_eq!(thread(&main), Some(Some(json!("main"))), "{all}");
    assert_eq!(thread(&last), Some(None), "{all}");
}

/// Within a thread a newer receipt takes the place of the older one, and leaves other threads alone.
/// spec: client-server-api/#threaded-read-receipts
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn receipt_moves_on_within_its_thread() {
    let (alice, bob, room, root, _) = stage().await;
    let reply = |body: &str| {
        json!({
            "msgtype": "m.text", "body": body,
            "m.relates_to": {"rel_type": "m.thread", "event_id": root},
        })
    };
    let one = alice.send(&room, "m.room.message", reply("one")).await;
    let two = alice.send(&room, "m.room.message", reply("two")).await;
    read(&bob, &room, "m.read", &root, json!({"thread_id": "main"})).await.expect_ok();
    read(&bob, &room, "m.read", &one, json!({"thread_id": root})).await.expect_ok();
    read(&bob, &room, "m.read", &two, json!({"thread_id": root})).await.expect_ok();
    let all = receipts(&alice.sync().filter(&json!({})).await, &room);
    let mut read = events_read(&all, "m.read", &bob);
    read.sort();
    let mut expected = vec![root, two];
    expected.sort();
    assert_eq!(read, expected, "{all}");
}

/// A thread id must be a non-empty string, and the event in that thread.
/// spec: client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn broken_threads_are_refused() {
    let (alice, bob, room, root, _) = stage().await;
    let reply = json!({
        "msgtype": "m.text", "body": "in the thread",
        "m.relates_to": {"rel_type": "m.thread", "event_id": root},
    });
    let reply = alice.send(&room, "m.room.message", reply).await;
    for thread in [json!(""), json!(1), json!(["main"]), json!({})] {
        let answer = read(&bob, &room, "m.read", &root, json!({"thread_id": thread})).await;
        answer.expect_err(400, "M_INVALID_PARAM");
    }
    let elsewhere = alice.send_text(&room, "not in the thread").await;
    for (event, thread) in [(&elsewhere, root.as_str()), (&reply, "main"), (&elsewhere, "$never")] {
        let answer = read(&bob, &room, "m.read", event, json!({"thread_id": thread})).await;
        answer.expect_err(400, "M_INVALID_PARAM");
    }
    let answer = read(&bob, &room, "m.fully_read", &root, json!({"thread_id": "main"})).await;
    answer.expect_err(400, "M_INVALID_PARAM");
}

/// There are three types of receipts.
/// spec: client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn unknown_types_are_refused() {
    let (alice, bob, room, event, _) = stage().await;
    for kind in ["m.seen", "org.example.read", "M.READ"] {
        let answer = read(&bob, &room, kind, &event, json!({})).await;
        assert!((400..500).contains(&answer.status), "{kind}: {answer}");
    }
    assert_eq!(receipts(&alice.sync().await, &room), json!({}));
}

/// Only members leave receipts: what others try comes to nothing.
/// spec: client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn only_members_leave_receipts() {
    let (alice, bob, room, event, _) = stage().await;
    let stranger = alice.server.register("stranger").await;
    alice.membership(&room, "kick", &bob.id).await.expect_ok();
    for user in [&stranger, &bob] {
        for kind in ["m.read", "m.read.private"] {
            let answer = read(user, &room, kind, &event, json!({})).await;
            assert!(answer.status < 500, "{answer}");
        }
    }
    assert_eq!(receipts(&alice.sync().filter(&json!({})).await, &room), json!({}));
}

/// A receipt for an event that is not in the room is refused, or changes nothing.
/// spec: client-server-api/#receipts
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn receipts_for_foreign_events_come_to_nothing() {
    let (alice, bob, room, _, _) = stage().await;
    let other = alice.create_public_room().await;
    let foreign = alice.send_text(&other, "elsewhere").await;
    for event in [foreign.as_str(), "$never", "not-an-event"] {
        let answer = read(&bob, &room, "m.read", event, json!({})).await;
        assert!(answer.status < 500, "{answer}");
    }
    let elsewhere = receipts(&alice.sync().await, &other);
    assert!(events_read(&elsewhere, "m.read", &bob).is_empty(), "{elsewhere}");
}

/// Receipts say nothing about rooms that the reader is not in.
/// spec: client-server-api/#receipts
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn receipts_stay_in_their_room() {
    let (alice, bob, room, event, _) = stage().await;
    let carol = alice.server.register("carol").await;
    let other = alice.create_public_room().await;
    carol.join(&other).await;
    let mut syncer = carol.syncer_with_filter(without_presence()).await;
    read(&bob, &room, "m.read", &event, json!({})).await.expect_ok();
    let sent = alice.send_text(&other, "elsewhere").await;
    let answer =
        syncer.until("the message", |answer| sytest_like::timeline_ids(answer, &other).contains(&sent));
    assert!(!mentions(&answer.await, &room));
}

/// The body may be empty, but it must be JSON.
/// spec: client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn receipt_body_is_json() {
    let (_, bob, room, event, mut syncer) = stage().await;
    let path = path!("/v3/rooms/{}/receipt/m.read/{}", room, event);
    for body in ["{broken", "[]", "\"main\""] {
        bob.request(http::Method::POST, &path).body(body).await.expect_refused();
    }
    bob.request(http::Method::POST, &path).body("{}").await.expect_ok();
    let heard = receipts(&syncer.next(5_000).await, &room);
    assert!(receipt(&heard, &event, "m.read", &bob).is_some(), "{heard}");
}
