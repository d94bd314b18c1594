//! Read markers.

use super::view::{ephemeral, room_data, without_presence};
use sytest_like::{Response, Server, User, Value, json, path};

async fn stage() -> (User, User, String, String) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let event = alice.send_text(&room, "read me").await;
    (alice, bob, room, event)
}

async fn mark(user: &User, room: &str, body: Value) -> Response {
    user.post(&path!("/v3/rooms/{}/read_markers", room), body).await
}

fn marker(answer: &Response, room: &str) -> Option<Value> {
    room_data(answer, room, "m.fully_read").map(|content| content["event_id"].clone())
}

fn has_read(answer: &Response, room: &str, event: &str, kind: &str, user: &User) -> bool {
    ephemeral(answer, room, "m.receipt").is_some_and(|content| content[event][kind].get(&user.id).is_some())
}

/// The marker comes down to the user's devices as account data of the room, once.
/// spec: client-server-api/#fully-read-markers
/// covers: POST /_matrix/client/v3/rooms/{roomId}/read_markers
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn marker_is_account_data() {
    let (_, bob, room, event) = stage().await;
    let laptop = bob.login().await;
    let mut syncer = laptop.syncer_with_filter(without_presence()).await;
    mark(&bob, &room, json!({"m.fully_read": event})).await.expect_ok();
    let answer = syncer.next(5_000).await;
    assert_eq!(marker(&answer, &room), Some(json!(event)), "{answer}");
    assert_eq!(marker(&syncer.next(0).await, &room), None);
    let path = path!("/v3/user/{}/rooms/{}/account_data/m.fully_read", bob.id, room);
    bob.get(&path).await.expect_ok().has("event_id", event.as_str());
    assert_eq!(marker(&laptop.sync().filter(&json!({})).await, &room), Some(json!(event)));
}

/// Nobody else hears of it.
/// spec: client-server-api/#fully-read-markers
/// covers: POST /_matrix/client/v3/rooms/{roomId}/read_markers
#[tokio::test]
async fn marker_is_private() {
    let (alice, bob, room, event) = stage().await;
    mark(&bob, &room, json!({"m.fully_read": event})).await.expect_ok();
    let answer = alice.sync().await;
    assert_eq!(marker(&answer, &room), None, "{answer}");
    assert_eq!(ephemeral(&answer, &room, "m.receipt"), None, "{answer}");
}

/// Marker, public and private receipt can be set together, each on its own event.
/// spec: client-server-api/#post_matrixclientv3roomsroomidread_markers
/// covers: POST /_matrix/client/v3/rooms/{roomId}/read_markers
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn marker_and_receipts_together() {
    let (alice, bob, room, first) = stage().await;
    let second = alice.send_text(&room, "two").await;
    let third = alice.send_text(&room, "three").await;
    let body = json!({"m.fully_read": first, "m.read": second, "m.read.private": third});
    mark(&bob, &room, body).await.expect_ok();
    let own = bob.sync().await;
    assert_eq!(marker(&own, &room), Some(json!(first)));
    assert!(has_read(&own, &room, &second, "m.read", &bob), "{own}");
    assert!(has_read(&own, &room, &third, "m.read.private", &bob), "{own}");
    let others = alice.sync().await;
    assert!(has_read(&others, &room, &second, "m.read", &bob), "{others}");
    assert!(!others.to_string().contains("m.read.private"), "{others}");
}

/// Receipts alone are fine too.
/// spec: client-server-api/#post_matrixclientv3roomsroomidread_markers
/// covers: POST /_matrix/client/v3/rooms/{roomId}/read_markers
#[tokio::test]
async fn receipts_without_a_marker() {
    let (alice, bob, room, event) = stage().await;
    mark(&bob, &room, json!({"m.read": event})).await.expect_ok();
    assert!(has_read(&alice.sync().await, &room, &event, "m.read", &bob));
    assert_eq!(marker(&bob.sync().await, &room), None);
    mark(&bob, &room, json!({"m.read.private": event})).await.expect_ok();
    assert!(has_read(&bob.sync().filter(&json!({})).await, &room, &event, "m.read.private", &bob));
}

/// The marker can also be set as if it were a receipt; it does not become one.
/// spec: client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn marker_through_the_receipt_endpoint() {
    let (alice, bob, room, event) = stage().await;
    bob.post(&path!("/v3/rooms/{}/receipt/m.fully_read/{}", room, event), json!({})).await.expect_ok();
    let own = bob.sync().await;
    assert_eq!(marker(&own, &room), Some(json!(event)));
    assert_eq!(ephemeral(&own, &room, "m.receipt"), None, "{own}");
    assert_eq!(ephemeral(&alice.sync().await, &room, "m.receipt"), None);
}

/// The marker moves on.
/// spec: client-server-api/#fully-read-markers
/// covers: POST /_matrix/client/v3/rooms/{roomId}/read_markers
#[tokio::test]
async fn marker_moves_on() {
    let (alice, bob, room, first) = stage().await;
    let second = alice.send_text(&room, "two").await;
    for event in [&first, &second] {
        mark(&bob, &room, json!({"m.fully_read": event})).await.expect_ok();
    }
    assert_eq!(marker(&bob.sync().await, &room), Some(json!(second)));
}

/// The event of a marker must be one of the room.
/// spec: client-server-api/#post_matrixclientv3roomsroomidread_markers
/// covers: POST /_matrix/client/v3/rooms/{roomId}/read_markers
#[tokio::test]
async fn marker_must_belong_to_the_room() {
    let (alice, bob, room, event) = stage().await;
    mark(&bob, &room, json!({"m.fully_read": event})).await.expect_ok();
    let other = alice.create_public_room().await;
    let foreign = alice.send_text(&other, "elsewhere").await;
    mark(&bob, &room, json!({"m.fully_read": foreign})).await.expect_refused();
    mark(&bob, &room, json!({"m.fully_read": "$never"})).await.expect_refused();
    assert_eq!(marker(&bob.sync().await, &room), Some(json!(event)));
}

/// The marker is not set as account data directly.
/// spec: client-server-api/#fully-read-markers
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
#[tokio::test]
async fn marker_is_not_plain_account_data() {
    let (_, bob, room, event) = stage().await;
    let path = path!("/v3/user/{}/rooms/{}/account_data/m.fully_read", bob.id, room);
    let answer = bob.put(&path, json!({"event_id": event})).await;
    answer.expect_err_of(&[(405, "M_BAD_JSON"), (405, "M_UNRECOGNIZED")]);
    assert_eq!(marker(&bob.sync().await, &room), None);
}

/// Only members set markers: what others try comes to nothing.
/// spec: client-server-api/#post_matrixclientv3roomsroomidread_markers
/// covers: POST /_matrix/client/v3/rooms/{roomId}/read_markers
#[tokio::test]
async fn only_members_set_markers() {
    let (alice, bob, room, event) = stage().await;
    let stranger = alice.server.register("stranger").await;
    bob.leave(&room).await;
    for user in [&stranger, &bob] {
        let answer = mark(user, &room, json!({"m.fully_read": event, "m.read": event})).await;
        assert!(answer.status < 500, "{answer}");
    }
    assert_eq!(ephemeral(&alice.sync().await, &room, "m.receipt"), None);
    let answer = mark(&alice, "!never:example.org", json!({"m.fully_read": event})).await;
    assert!((400..500).contains(&answer.status), "{answer}");
}

/// Event ids are strings.
/// spec: client-server-api/#post_matrixclientv3roomsroomidread_markers
/// covers: POST /_matrix/client/v3/rooms/{roomId}/read_markers
#[tokio::test]
async fn broken_markers_are_refused() {
    let (_, bob, room, _) = stage().await;
    for body in
        [json!({"m.fully_read": 1}), json!({"m.read": {}}), json!({"m.fully_read": ["$x"]}), json!([])]
    {
        let answer = mark(&bob, &room, body.clone()).await;
        assert!((400..500).contains(&answer.status), "{body}: {answer}");
    }
    assert_eq!(marker(&bob.sync().await, &room), None);
}

/// A room can be marked as unread; that is plain account data.
/// spec: client-server-api/#unread-markers
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn room_is_marked_unread() {
    let (_, bob, room, _) = stage().await;
    let mut syncer = bob.login().await.syncer_with_filter(without_presence()).await;
    let path = path!("/v3/user/{}/rooms/{}/account_data/m.marked_unread", bob.id, room);
    bob.put(&path, json!({"unread": true})).await.expect_ok();
    let answer = syncer.next(5_000).await;
    assert_eq!(room_data(&answer, &room, "m.marked_unread"), Some(json!({"unread": true})), "{answer}");
}
