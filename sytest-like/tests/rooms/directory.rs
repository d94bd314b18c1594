//! Whether a room is in the published directory.

use sytest_like::{Response, User, json, path, unique};

use super::ground::{room_with, set_levels, two};

async fn visibility(user: &User, room: &str) -> String {
    let answer = user.get(&path!("/v3/directory/list/room/{}", room)).await.expect_ok();
    answer.str("visibility").to_owned()
}

async fn set(user: &User, room: &str, visibility: &str) -> Response {
    user.put(&path!("/v3/directory/list/room/{}", room), json!({"visibility": visibility})).await
}

/// A room is published and hidden again; nobody but its members can tell by the room itself.
/// spec: client-server-api/#published-room-directory
/// covers: GET /_matrix/client/v3/directory/list/room/{roomId}
/// covers: PUT /_matrix/client/v3/directory/list/room/{roomId}
#[tokio::test]
async fn room_is_published_and_hidden() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    assert_eq!(visibility(&bob, &room).await, "private");
    set(&alice, &room, "public").await.expect_ok();
    assert_eq!(visibility(&bob, &room).await, "public");
    let anonymous = bob.server.get(&path!("/v3/directory/list/room/{}", room)).await.expect_ok();
    anonymous.has("visibility", "public");
    set(&alice, &room, "private").await.expect_ok();
    assert_eq!(visibility(&bob, &room).await, "private");
}

/// Without a word about the visibility a room is published.
/// spec: client-server-api/#put_matrixclientv3directorylistroomroomid
/// covers: PUT /_matrix/client/v3/directory/list/room/{roomId}
#[tokio::test]
async fn visibility_defaults_to_public() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    alice.put(&path!("/v3/directory/list/room/{}", room), json!({})).await.expect_ok();
    assert_eq!(visibility(&alice, &room).await, "public");
}

/// Ordinary members and strangers do not publish a room.
/// spec: client-server-api/#put_matrixclientv3directorylistroomroomid
/// covers: PUT /_matrix/client/v3/directory/list/room/{roomId}
#[tokio::test]
async fn ordinary_users_publish_no_rooms() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    set(&bob, &room, "public").await.expect_err(403, "M_FORBIDDEN");
    bob.join(&room).await;
    set(&bob, &room, "public").await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(visibility(&alice, &room).await, "private");
    set_levels(&alice, &room, json!({"users": {&bob.id: 50}})).await.expect_ok();
    set(&bob, &room, "public").await.expect_ok();
}

/// Values that mean nothing are refused, and so are rooms that are not there.
/// spec: client-server-api/#put_matrixclientv3directorylistroomroomid
/// covers: GET /_matrix/client/v3/directory/list/room/{roomId}
/// covers: PUT /_matrix/client/v3/directory/list/room/{roomId}
#[tokio::test]
async fn nonsense_is_refused() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    set(&alice, &room, "nonsense").await.expect_status(400).expect_refused();
    let path = path!("/v3/directory/list/room/{}", room);
    alice.put(&path, json!({"visibility": 1})).await.expect_status(400).expect_refused();
    let unknown = format!("!{}:{}", unique("unknown"), alice.server.name());
    set(&alice, &unknown, "public").await.expect_refused();
    let answer = alice.get(&path!("/v3/directory/list/room/{}", unknown)).await;
    answer.expect_err(404, "M_NOT_FOUND");
}

/// Publishing changes nothing about who may come in.
/// spec: client-server-api/#published-room-directory
/// covers: PUT /_matrix/client/v3/directory/list/room/{roomId}
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn published_is_not_public() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({"preset": "private_chat", "visibility": "public"})).await;
    assert_eq!(visibility(&bob, &room).await, "public");
    super::ground::try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    let open = room_with(&alice, &[]).await;
    assert_eq!(visibility(&bob, &open).await, "private");
    bob.join(&open).await;
}
